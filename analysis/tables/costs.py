"""What runs cost, and all tasks together in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import page
from analysis.aggregate import prob_improvement
from analysis.cells import place
from analysis.figures import View
from analysis.verdict import interval, number

_EQUAL, _UNTIL = "score at equal ", " to threshold"


def costs(view: View) -> str:
    """A line an arm, a column a quantity, each with its interval where it has one."""
    table = view.costs
    if table.empty:
        return ""
    parts = []
    for (task, cell), rows in table.groupby(["task", "cell"], sort=False):
        # Budgets and thresholds stand in the heading: they are the same for all arms.
        heads = {
            row["quantity"]: f"{row['quantity']} ({row['unit']})"
            if row["unit"]
            else row["quantity"]
            for row in rows.to_dict("records")
        }
        shown = pd.DataFrame(
            {"arm": label}
            | {heads[row["quantity"]]: _cell(row) for row in group.to_dict("records")}
            for label, group in rows.groupby("label", sort=True)
        )
        kinds = {str(n): "name" if n == "arm" else "num" for n in shown.columns}
        parts.append(page.paragraph(f"{place(task, cell)}:") + page.table(shown, kinds))
    return "".join(parts)


def _cell(row: Mapping[Any, object]) -> str:
    est, lo, hi = (float(str(row[name])) for name in ("est", "lo", "hi"))
    if pd.isna(est):
        return str(row["method"]).partition(", ")[2] or "–"
    bounds = interval(lo, hi, sign=False)
    return f"{number(est)} {bounds}".strip()


def aggregates(view: View) -> str:
    """IQM, mean, median and optimality gap of each arm over all tasks."""
    table = view.aggregates
    if table.empty:
        return ""
    rows = [
        {"at": cell or "–", "arm": label}
        | {str(row["statistic"]).replace("_", " "): _cell(row) for row in group.to_dict("records")}
        | {"n": group["n"].iloc[0], "tasks": group["tasks"].iloc[0]}
        | {"left out": group["missing"].iloc[0] or "–"}
        for (cell, label), group in table.groupby(["cell", "label"], sort=True)
    ]
    shown = pd.DataFrame(rows)
    words = ("at", "arm", "left out")
    kinds = {str(name): "name" if name in words else "num" for name in shown.columns}
    return page.table(shown, kinds) + improvements(view)


def improvements(view: View) -> str:
    """The chance that a run of a candidate is above one of the baseline."""
    pairs = view.comparison[["candidate", "baseline"]].drop_duplicates()
    labels = set(view.confirmed["label"])
    tables = [
        prob_improvement(view.frames, x, y, score=view.score, window=view.window)
        for x, y in pairs.itertuples(index=False, name=None)
        if {x, y} <= labels
    ]
    if not tables:
        return ""
    table = pd.concat(tables)
    table = table[table["task"] == "all"]
    shown = pd.DataFrame(
        {
            "at": [cell or "–" for cell in table["cell"]],
            "candidate": table["x"],
            "baseline": table["y"],
            "chance to be above it": [_cell(row) for row in table.to_dict("records")],
            "n": table["n"],
            "method": table["method"],
        }
    )
    kinds = dict.fromkeys(("at", "candidate", "baseline", "method"), "name")
    text = "How often a run of the candidate scores above one of the baseline on the same task:"
    return page.paragraph(text) + page.table(
        shown, kinds | {"chance to be above it": "num", "n": "num"}
    )
