"""How good the best screened configuration was, by what had been spent."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, GREY, panel, short_numbers
from analysis.figures.view import View


def panels(view: View) -> list[str]:
    """Tasks with several screening trials that ended."""
    rows = _ended(view)
    sizes = rows.groupby("task").size()
    return sorted(str(task) for task in sizes.index[sizes > 1])


def draw(view: View, task: str) -> Figure:
    """Trials in the order in which they ended; a maximum, and so biased upwards."""
    rows = _ended(view)
    rows = rows[rows["task"] == task].sort_values("ended_at")
    seconds = rows["gpu_s"] if view.hours == "gpu_hours" else rows["wall_time_s"]
    spent = seconds.fillna(0.0).cumsum().to_numpy(float) / 3600
    values = rows["value"].to_numpy(float)
    figure, axes = panel()
    axes.plot(spent, values, "o", color=GREY, ms=3.5, alpha=0.6, label=f"a trial (n={len(rows)})")
    best = np.fmax.accumulate(values)
    axes.step(spent, best, where="post", color=COLOURS[0], lw=2, label="best so far (biased)")
    axes.set_title(task, fontsize=11, loc="left")
    axes.set_xlabel(f"{view.hours_label} of all trials", fontsize=10)
    axes.set_ylabel(f"screening {view.score_label}", fontsize=10)
    short_numbers(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _ended(view: View):
    ends = view.frames.trials[["trial_id", "ended_at"]]
    return view.screened.merge(ends, on="trial_id").dropna(subset=["ended_at", "value"])
