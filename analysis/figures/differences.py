"""Candidate minus baseline with its interval, against zero and the margin that does not matter."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.cells import place
from analysis.figures.style import COLOURS, GREY, panel
from analysis.figures.view import View

_LOOK = {
    "win": (COLOURS[2], "^"),
    "lose": (COLOURS[1], "v"),
    "tie": (COLOURS[0], "s"),
    "undetermined": (GREY, "o"),
}


def panels(view: View) -> list[str]:
    """One, if there is an interval to show."""
    return ["all tasks"] if view.comparison["lo"].notna().any() else []


def draw(view: View, panel_name: str) -> Figure:
    """One line a comparison; the grey box is the margin."""
    table = view.comparison.dropna(subset=["lo"]).reset_index(drop=True)
    figure, axes = panel(height=1.1 + 0.55 * len(table))
    several = table["candidate"].nunique() > 1
    names = []
    for i, row in enumerate(table.to_dict("records")):
        colour, marker = _LOOK[row["verdict"]]
        corner, width = (-row["margin"], i - 0.32), 2 * row["margin"]
        axes.add_patch(Rectangle(corner, width, 0.64, color="#d1d5db", lw=0, zorder=1))
        axes.plot([row["lo"], row["hi"]], [i, i], color=colour, lw=2.2, zorder=3)
        axes.plot([row["est"]], [i], marker, color=colour, ms=7, zorder=4)
        axes.annotate(
            row["verdict"],
            (row["est"], i),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            fontsize=8,
            color="#111827",
        )
        where = place(row["task"], row["cell"])
        names.append(f"{where}\n{row['candidate']}" if several else where)
    axes.axvline(0, color="#111827", lw=1, zorder=2)
    axes.set_yticks(np.arange(len(table)), names, fontsize=9)
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    base = table["baseline"].iloc[0]
    what = "candidate" if several else table["candidate"].iloc[0]
    axes.set_xlabel(f"{what} − {base}, {view.score_label}", fontsize=10)
    return figure
