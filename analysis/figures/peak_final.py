"""Final against peak score of every confirmed seed: runs below the diagonal lost what they had."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.style import GREY, colours, markers, panel
from analysis.figures.view import View, in_places
from analysis.stability import COLLAPSE


def panels(view: View) -> list[str]:
    """Tasks, and cells on them, with a result."""
    rows = view.confirmed
    return in_places(rows[rows["counts"] & rows["peak"].notna()])


def draw(view: View, name: str) -> Figure:
    """Below the dotted line a run counts as collapsed."""
    rows = view.confirmed
    rows = rows[rows["counts"] & (rows["place"] == name) & rows["peak"].notna()]
    colour, marker = colours(view.confirmed["label"]), markers(rows["label"])
    figure, axes = panel(height=3.2)
    top = max(float(rows["peak"].max()), 0.0) * 1.08 or 1.0
    axes.plot([0, top], [0, top], color=GREY, lw=1)
    axes.plot([0, top], [0, COLLAPSE * top], color=GREY, lw=1, ls=":")
    axes.annotate("final = peak", (0.5 * top, 0.54 * top), fontsize=8, color=GREY, ha="right")
    axes.annotate("half of peak", (0.95 * top, 0.30 * top), fontsize=8, color=GREY, ha="right")
    for label, group in rows.groupby("label"):
        arm = str(label)
        axes.plot(
            group["peak"],
            group["final"],
            marker[arm],
            color=colour[arm],
            ms=6,
            alpha=0.8,
            label=f"{arm} (n={len(group)})",
        )
    axes.set_xlim(0, top)
    axes.set_ylim(min(0.0, float(rows["final"].min())), top)
    axes.set_title(name, fontsize=11, loc="left")
    axes.set_xlabel("peak (biased: a maximum)", fontsize=10)
    axes.set_ylabel("final", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
