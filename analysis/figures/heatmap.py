"""Mean screening score of each integrator and number of substeps, with n in every cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import panel
from analysis.figures.view import View
from analysis.verdict import number

ROWS, COLUMNS = "p_world_model.integrator", "p_world_model.substeps"


def panels(view: View) -> list[str]:
    """Tasks in whose screening both parameters varied."""
    rows = view.screened
    if not {ROWS, COLUMNS} <= set(rows.columns):
        return []
    rows = rows.dropna(subset=[ROWS, COLUMNS])
    varied = rows.groupby("task")[[ROWS, COLUMNS]].nunique().min(axis=1) > 1
    return [str(task) for task in varied[varied].index]


def draw(view: View, task: str) -> Figure:
    """Stopped trials are named in the cell and not averaged."""
    rows = view.screened.dropna(subset=[ROWS, COLUMNS])
    rows = rows[rows["task"] == task]
    integrators, substeps = sorted(rows[ROWS].unique()), sorted(rows[COLUMNS].unique())
    whole = rows[rows["status"] != "STOPPED"]
    means = whole.pivot_table(index=ROWS, columns=COLUMNS, values="value", aggfunc="mean")
    means = means.reindex(index=integrators, columns=substeps)
    figure, axes = panel(height=1.2 + 0.7 * len(integrators))
    axes.grid(visible=False)
    grid = means.to_numpy(float)
    edges = (np.arange(len(substeps) + 1) - 0.5, np.arange(len(integrators) + 1) - 0.5)
    axes.pcolormesh(*edges, np.ma.masked_invalid(grid), cmap="cividis", edgecolors="white")
    axes.invert_yaxis()
    found = grid[~np.isnan(grid)]
    middle = (found.min() + found.max()) / 2 if len(found) else 0.0
    for i, integrator in enumerate(integrators):
        for j, k in enumerate(substeps):
            cell = rows[(rows[ROWS] == integrator) & (rows[COLUMNS] == k)]
            dark = not np.isnan(grid[i, j]) and grid[i, j] < middle
            axes.text(
                j,
                i,
                _label(grid[i, j], cell),
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if dark else "#111827",
            )
    axes.set_xticks(range(len(substeps)), [f"{k:g}" for k in substeps])
    axes.set_yticks(range(len(integrators)), integrators)
    axes.set_xlabel("substeps", fontsize=10)
    axes.set_title(f"{task}: screening {view.score_label}", fontsize=11, loc="left")
    return figure


def _label(mean: float, cell: pd.DataFrame) -> str:
    stopped = int((cell["status"] == "STOPPED").sum())
    text = "" if np.isnan(mean) else f"{number(mean)}\n"
    text += f"n={len(cell) - stopped}"
    return f"{text}\n+{stopped} stopped" if stopped else text
