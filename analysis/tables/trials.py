"""Trials that are not what they should be: missing, failed, collapsed."""

from __future__ import annotations

import pandas as pd

from analysis import page
from analysis.aggregate import coverage
from analysis.cells import place
from analysis.figures import View
from analysis.frames import Frames
from analysis.summarize import failures
from analysis.verdict import number


def failed_trials(frames: Frames) -> str:
    """What failed, why, and where its log is."""
    table = failures(frames)
    shown = pd.DataFrame(
        {
            "trial": table["trial_id"],
            "class": table["failure_class"],
            "last line": table["last_line"],
            "epoch": [
                f"{done:,.0f} of {total:,.0f}"
                for done, total in zip(table["epochs_done"], table["epochs"], strict=True)
            ],
            "attempt": table["attempt"],
            "log": [path if isinstance(path, str) else "–" for path in table["log_path"]],
            "stage": table["stage"],
            "arm": table["arm"],
            "task": table["task"],
        }
    )
    kinds = dict.fromkeys(("trial", "class", "stage", "arm", "task"), "name")
    kinds |= {"attempt": "num", "epoch": "num", "last line": "wide", "log": "code"}
    return page.section("Failures", page.table(shown, kinds))


def collapsed(view: View) -> str:
    """Runs of the confirm stage that lost half of what they had reached, the steepest first."""
    rows = view.confirmed
    rows = rows[rows["collapsed"] & rows["counts"]].sort_values("final_peak")
    shown = pd.DataFrame(
        {
            "task": rows["place"],
            "arm": rows["label"],
            "seed": rows["seed"],
            "peak (biased)": rows["peak"].map(number),
            "final": rows["final"].map(number),
            "final / peak": [f"{ratio:.2f}" for ratio in rows["final_peak"]],
            f"since ({view.progress_label})": rows["collapsed_at"].map(number),
            "trial": rows["trial_id"],
        }
    )
    words = ("task", "arm", "trial")
    kinds = {str(name): "name" if name in words else "num" for name in shown.columns}
    table = page.table(shown, kinds)
    return page.paragraph("Collapsed runs:") + table if table else ""


def missing(view: View) -> str:
    """The seeds of every arm on every task by what became of them, if any has no result."""
    table = coverage(view.frames, score=view.score, window=view.window, scale=view.scale)
    if table.empty or (table["results"] == table["planned"]).all():
        return ""
    where = [place(*key) for key in zip(table["task"], table["cell"], strict=True)]
    shown = table.drop(columns=["task", "cell"]).rename(columns={"label": "arm"})
    shown.insert(0, "task", where)
    kinds = {str(n): "name" if n in ("task", "arm") else "num" for n in shown.columns}
    return page.details("Seeds planned and what became of them", page.table(shown, kinds))
