"""Final score of every confirmed seed by arm, with mean and interval."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from analysis import stats
from analysis.figures.style import GREY, colours, markers, panel
from analysis.figures.view import View, in_places


def panels(view: View) -> list[str]:
    """Tasks, and cells on them, with a result."""
    rows = view.confirmed
    return in_places(rows[rows["counts"]])


def draw(view: View, name: str) -> Figure:
    """Dots are seeds; seeds that both arms share are joined."""
    rows = view.confirmed
    rows = rows[rows["counts"] & (rows["place"] == name)]
    labels = sorted(rows["label"].unique())
    colour, marker = colours(view.confirmed["label"]), markers(labels)
    place = {label: i for i, label in enumerate(labels)}
    figure, axes = panel(height=2.8)
    for _, seed in rows.sort_values("label").groupby("seed"):
        axes.plot(seed["label"].map(place), seed["value"], color=GREY, lw=0.6, alpha=0.6)
    for label, group in rows.groupby("label"):
        arm, at = str(label), place[str(label)]
        shade = colour[arm]
        values = group["value"].to_numpy(float)
        axes.plot(np.full(len(values), at), values, marker[arm], color=shade, ms=5, alpha=0.75)
        e = stats.mean_interval(values)
        axes.plot([at + 0.14], [e.est], "_", color=shade, ms=14, mew=2)
        if not np.isnan(e.lo):
            axes.plot([at + 0.14] * 2, [e.lo, e.hi], color=shade, lw=2)
    axes.set_xticks(
        range(len(labels)),
        [f"{label}\nn={int((rows['label'] == label).sum())}" for label in labels],
        fontsize=10,
    )
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_title(name, fontsize=11, loc="left")
    axes.set_ylabel(f"final {view.score_label}", fontsize=10)
    return figure
