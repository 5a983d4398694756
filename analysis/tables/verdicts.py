"""What the comparison says, task by task, seed by seed and over all tasks."""

from __future__ import annotations

import pandas as pd

from analysis import page
from analysis.cells import place
from analysis.figures import View
from analysis.verdict import interval, number

_NOT_LEARNED = ' <span class="note">not learned</span>'
_RULE = (
    "Tie: the 90% interval lies within the margin (two one-sided tests at 5%). Win or lose: no "
    "tie, the 95% interval excludes 0, and so does Holm's correction. Undetermined: all else; "
    "seeds needed would find a true difference of the margin's size in 8 of 10 sweeps."
)


def comparison(table: pd.DataFrame) -> str:
    """The verdicts, and behind a fold the tests and reasons for them."""
    rows = table.to_dict("records")
    main = pd.DataFrame(
        {
            "task": place(row["task"], row["cell"]),
            "candidate": row["candidate"],
            "verdict": page.chip(row["verdict"]) + (_NOT_LEARNED if row["not_learned"] else ""),
            "difference": number(row["est"], sign=True),
            "95% interval": interval(row["lo"], row["hi"]) or "–",
            "%": "–" if pd.isna(row["percent"]) else f"{row['percent']:+.1f}".replace("-", "−"),
            "n": row["n"],
            "method": row["method"],
            "mean of candidate": number(row["candidate_mean"]),
            f"mean of {row['baseline']}": number(row["baseline_mean"]),
            "seeds needed": "–" if pd.isna(row["seeds_needed"]) else f"{row['seeds_needed']:,}",
        }
        for row in rows
    )
    more = pd.DataFrame(
        {
            "task": place(row["task"], row["cell"]),
            "candidate": row["candidate"],
            "why": row["reason"],
            "margin": f"±{number(row['margin'])}",
            "90% interval": interval(row["lo90"], row["hi90"]) or "–",
            "p": _p(row["p_value"]),
            "p (Holm)": _p(row["p_holm"]),
            "p paired": _p(row["p_paired"]),
            "p Welch": _p(row["p_welch"]),
            "seed correlation": "–" if pd.isna(row["seed_corr"]) else f"{row['seed_corr']:.3f}",
            "IQM difference, bootstrap": "–"
            if pd.isna(row["iqm_est"])
            else f"{number(row['iqm_est'], sign=True)} {interval(row['iqm_lo'], row['iqm_hi'])}",
        }
        for row in rows
    )
    if main.empty:
        return ""
    left = ("task", "candidate", "method", "verdict", "why")
    kinds = {str(name): "num" for name in (*main, *more) if name not in left}
    kinds |= {"task": "name", "candidate": "name", "verdict": "name", "method": "name"}
    return (
        page.table(main, kinds, raw=("verdict",))
        + page.paragraph(_RULE, "note")
        + page.details("Tests, margins and reasons", page.table(more, kinds | {"why": "wide"}))
    )


def together(table: pd.DataFrame) -> str:
    """All tasks as one, in shares of the best possible score."""
    frame = pd.DataFrame(
        {
            "at": row["cell"] or "–",
            "candidate": row["candidate"],
            "verdict": page.chip(row["verdict"]),
            "difference": number(row["est"], sign=True),
            "95% interval": interval(row["lo"], row["hi"]) or "–",
            "tasks": row["tasks"],
            "n": row["n"],
            "method": row["method"],
            "mean of candidate": number(row["candidate_mean"]),
            f"mean of {row['baseline']}": number(row["baseline_mean"]),
            "margin": f"±{number(row['margin'])}",
            "why": row["reason"],
        }
        for row in table.to_dict("records")
    )
    if frame.empty:
        return ""
    left = ("at", "candidate", "method", "verdict")
    kinds = {str(name): "name" if name in left else "num" for name in frame.columns}
    return page.paragraph(
        "All tasks together, each weighing the same, in shares of the best possible score:"
    ) + page.table(frame, kinds | {"why": "wide"}, raw=("verdict",))


def _p(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2g}"


def per_seed(view: View) -> str:
    """Score of every test seed; the status of those that are no result."""
    rows = view.confirmed
    if rows.empty:
        return ""
    shown = [
        number(row["value"]) + (" *" if row["diverged"] else "")
        if row["counts"]
        else str(row["status"]).lower()
        for row in rows.to_dict("records")
    ]
    wide = rows.assign(shown=shown).pivot_table(
        index=["place", "label"], columns="seed", values="shown", aggfunc="first", fill_value="–"
    )
    frame = wide.reset_index().rename(columns={"place": "task", "label": "arm"})
    frame.columns = [str(name) for name in frame.columns]
    kinds = {name: "name" if name in ("task", "arm") else "num" for name in frame.columns}
    note = page.paragraph("* diverged, counts as 0", "note") if rows["diverged"].any() else ""
    return page.paragraph("Score of every test seed:") + page.table(frame, kinds) + note
