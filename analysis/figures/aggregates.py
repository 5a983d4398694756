"""All tasks as one number, four times: IQM, mean, median and optimality gap of each arm."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.style import GREY, GRID, colours
from analysis.figures.view import View, cell_panels, of_cell

_TITLES = {
    "iqm": "IQM",
    "mean": "mean",
    "median": "median",
    "optimality_gap": "optimality gap\n(less is better)",
}


def panels(view: View) -> list[str]:
    """The cells of a sweep of several tasks."""
    return cell_panels(view.aggregates)


def draw(view: View, name: str) -> Figure:
    """One column a statistic, one line an arm."""
    table = of_cell(view.aggregates, name)
    labels = sorted(table["label"].unique())
    figure = Figure(figsize=(6.4, 1.3 + 0.42 * len(labels)), layout="constrained")
    colour = colours(view.confirmed["label"])
    first = None
    for column, (statistic, title) in enumerate(_TITLES.items(), start=1):
        axes = figure.add_subplot(1, len(_TITLES), column, sharey=first)
        first = first or axes
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(color=GRID, linewidth=0.8, axis="x")
        axes.tick_params(labelsize=8, left=False, labelleft=column == 1)
        rows = table[table["statistic"] == statistic].set_index("label")
        for at, label in enumerate(labels):
            row, shade = rows.loc[label], colour[label]
            axes.plot([row["lo"], row["hi"]], [at, at], color=shade, lw=5, alpha=0.35)
            axes.plot([row["est"]], [at], "|", color=shade, ms=13, mew=2)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.2)
    assert first is not None
    seeds = table.groupby("label")["n"].first()
    first.set_yticks(range(len(labels)), [f"{x} (n={seeds[x]})" for x in labels], fontsize=9)
    first.set_ylim(len(labels) - 0.5, -0.5)
    tasks = int(table["tasks"].max())
    figure.supxlabel(f"share of the best possible score, {tasks} tasks", fontsize=9, color=GREY)
    return figure
