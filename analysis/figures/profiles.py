"""Performance profiles: the share of runs that score above any threshold."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.style import colours, panel
from analysis.figures.view import EVERYWHERE, View, cell_panels, of_cell


def panels(view: View) -> list[str]:
    """The cells of a sweep of several tasks."""
    return cell_panels(view.profiles)


def draw(view: View, name: str) -> Figure:
    """A step line an arm with its pointwise interval."""
    table = of_cell(view.profiles, name)
    colour = colours(view.confirmed["label"])
    figure, axes = panel()
    for key, rows in table.groupby("label"):
        arm, n = str(key), int(rows["n"].iloc[0])
        axes.step(rows["tau"], rows["est"], color=colour[arm], lw=2, label=f"{arm} (n={n})")
        axes.fill_between(
            rows["tau"], rows["lo"], rows["hi"], step="pre", color=colour[arm], alpha=0.18, lw=0
        )
    axes.set_xlabel("score, in shares of the best possible one", fontsize=10)
    axes.set_ylabel("share of runs above it", fontsize=10)
    axes.set_ylim(0, 1.03)
    if name != EVERYWHERE:
        axes.set_title(name, fontsize=11, loc="left")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure
