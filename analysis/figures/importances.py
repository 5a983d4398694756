"""How much each hyperparameter mattered in the screening, where the design can tell."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.style import COLOURS, panel
from analysis.figures.view import View
from analysis.importance import importance
from analysis.names import InputError


def panels(view: View) -> list[str]:
    """Tasks with enough whole screening trials for PED-ANOVA, and no confounded parameters."""
    table = _table(view)
    return [] if table is None else sorted(table["task"].unique())


def draw(view: View, task: str) -> Figure:
    """A bar a hyperparameter, the largest at the top."""
    table = _table(view)
    assert table is not None
    rows = table[table["task"] == task].sort_values("est", ascending=False)
    figure, axes = panel(height=1.1 + 0.34 * len(rows))
    axes.barh(range(len(rows)), rows["est"], color=COLOURS[0], height=0.6)
    for at, share in enumerate(rows["est"]):
        axes.annotate(
            f"{share:.2f}",
            (share, at),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), list(rows["parameter"]), fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")
    axes.set_title(f"{task} (n={int(rows['n'].iloc[0])})", fontsize=11, loc="left")
    axes.set_xlabel("share of what tells the best tenth from all", fontsize=10)
    return figure


def _table(view: View):
    try:
        return importance(view.frames, method="ped-anova", score=view.score, window=view.window)
    except InputError:
        return None
