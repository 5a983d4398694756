"""Rungs of the scheduler: the score of every trial there, and what stopped whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, GREY, panel
from analysis.figures.view import View

STOPPED = "stop"


def panels(view: View) -> list[str]:
    """Brackets in which a rung was decided."""
    table = _decisions(view)
    return sorted(table["bracket"].unique(), key=str)


def draw(view: View, name: str) -> Figure:
    """Filled trials went on, hollow ones were stopped; the bar is the score that was asked for."""
    table = _decisions(view)
    table = table[table["bracket"] == name]
    milestones = sorted(table["milestone"].unique())
    figure, axes = panel()
    rng = np.random.default_rng(0)
    for at, milestone in enumerate(milestones):
        rows = table[table["milestone"] == milestone]
        x = at + rng.uniform(-0.12, 0.12, len(rows))
        went = (rows["decision"] != STOPPED).to_numpy()
        y = rows["score"].to_numpy(float)
        axes.plot(x[went], y[went], "o", color=COLOURS[0], ms=5, alpha=0.75)
        axes.plot(x[~went], y[~went], "o", color=COLOURS[1], ms=5, mfc="none")
        # Every trial met the cutoff of its own time; shown is the last.
        if not np.isnan(cutoff := float(rows["cutoff"].iloc[-1])):
            axes.plot([at - 0.3, at + 0.3], [cutoff] * 2, color=GREY, lw=1.5)
    names = [f"{milestone:,}\n{_counts(table, milestone)}" for milestone in milestones]
    axes.set_xticks(range(len(milestones)), names, fontsize=8)
    axes.set_xlim(-0.5, len(milestones) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_title(f"bracket {name}", fontsize=11, loc="left")
    axes.set_xlabel(f"rung ({view.progress_label})", fontsize=10)
    axes.set_ylabel(f"{view.score_label} there", fontsize=10)
    return figure


def _counts(table: pd.DataFrame, milestone: int) -> str:
    rows = table[table["milestone"] == milestone]
    stopped = int((rows["decision"] == STOPPED).sum())
    return f"n={len(rows)}, {stopped} stopped"


def _decisions(view: View) -> pd.DataFrame:
    """bracket, milestone, score, cutoff, decision of every rung that was decided."""
    events = view.frames.events
    payloads = events.loc[events["event"] == "rung", "payload"]
    names = ("bracket", "milestone", "score", "cutoff", "decision")
    rows = [{name: payload.get(name) for name in names} for payload in payloads]
    table = pd.DataFrame(rows, columns=list(names))
    return table.assign(
        bracket=table["bracket"].astype(str),
        score=table["score"].astype(float),
        cutoff=table["cutoff"].astype(float),
    )
