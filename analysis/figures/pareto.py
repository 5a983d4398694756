"""What a score costs: final score over hours, and over evaluations of the field."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import stats
from analysis.figures.style import GREY, colours, markers, panel, short_numbers
from analysis.figures.view import View, in_places

_OVER = {"hours": "over hours", "nfe": "over nfe"}


def panels(view: View) -> list[str]:
    """Every place with several arms or configurations, over hours; over nfe where they differ."""
    rows = _rows(view)
    found = []
    for where in in_places(rows):
        group = rows[rows["place"] == where]
        if group["label"].nunique() > 1:
            found.append(f"{where}, {_OVER['hours']}")
            if group.loc[group["nfe"] > 0, "nfe"].nunique() > 1:
                found.append(f"{where}, {_OVER['nfe']}")
    return found


def draw(view: View, name: str) -> Figure:
    """Means with their t intervals; the line joins what nothing else beats at less."""
    where, _, over = name.rpartition(", ")
    rows = _rows(view)
    rows = rows[rows["place"] == where]
    column = "hours" if over == _OVER["hours"] else "nfe"
    colour, marker = colours(view.confirmed["label"]), markers(rows["label"])
    figure, axes = panel()
    means = []
    for key, group in rows.groupby("label"):
        arm = str(key)
        e = stats.mean_interval(group["value"].to_numpy(float))
        at = float(group[column].mean())
        means.append((at, e.est))
        axes.plot(group[column], group["value"], marker[arm], color=colour[arm], ms=3, alpha=0.4)
        axes.plot([at], [e.est], marker[arm], color=colour[arm], ms=8, label=f"{arm} (n={e.n})")
        if not np.isnan(e.lo):
            axes.plot([at, at], [e.lo, e.hi], color=colour[arm], lw=1.8)
    front = _front(means)
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=GREY, lw=1, ls=":")
    low, high = float(rows["value"].min()), float(rows["value"].max())
    room = 0.2 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)
    axes.set_title(where, fontsize=11, loc="left")
    label = {"hours": f"{view.hours_label} a run", "nfe": "evaluations of the field a step (nfe)"}
    axes.set_xlabel(label[column], fontsize=10)
    axes.set_ylabel(f"final {view.score_label}", fontsize=10)
    short_numbers(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that score more than all that cost no more, from cheap to dear."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _rows(view: View) -> pd.DataFrame:
    rows = view.confirmed
    nfe = view.frames.trials.set_index("trial_id")["nfe"]
    seconds = rows["gpu_s"] if view.hours == "gpu_hours" else rows["wall_time_s"]
    known = rows["trial_id"].map(nfe).astype(float).fillna(0.0)  # an MLP has no field
    return rows.assign(hours=seconds / 3600, nfe=known)[rows["counts"] & seconds.notna()]
