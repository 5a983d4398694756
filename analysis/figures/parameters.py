"""Screening score by one hyperparameter: every trial a dot, the mean of whole ones a bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import stats
from analysis.figures.style import COLOURS, GREY, panel, short_numbers
from analysis.figures.view import View
from sweeps.core.store.schema import PARAM_PREFIX

_MANY = 8


def panels(view: View) -> list[str]:
    """Parameters (dotted keys) that took at least two values in the screen stage."""
    rows = view.screened
    names = [name for name in rows.columns if name.startswith(PARAM_PREFIX)]
    return [n.removeprefix(PARAM_PREFIX) for n in names if rows[n].dropna().nunique() > 1]


def draw(view: View, name: str) -> Figure:
    """Stopped trials are hollow and not averaged: they ended at a smaller budget."""
    column = PARAM_PREFIX + name
    rows = view.screened.dropna(subset=[column])
    figure, axes = panel(height=2.7)
    numeric = pd.api.types.is_numeric_dtype(rows[column]) and not pd.api.types.is_bool_dtype(
        rows[column]
    )
    values = sorted(rows[column].unique())
    if numeric and len(values) > _MANY:
        _dots(axes, rows[column].to_numpy(float), rows)
        if min(values) > 0 and max(values) / min(values) > 50:
            axes.set_xscale("log")
        else:
            short_numbers(axes.xaxis)
    else:
        place = {value: i for i, value in enumerate(values)}
        at = rows[column].map(place).to_numpy(float)
        jitter = np.random.default_rng(0).uniform(-0.13, 0.13, len(rows))
        _dots(axes, at + jitter, rows)
        for value, group in rows[rows["status"] != "STOPPED"].groupby(column):
            _mean(axes, place[value], group["value"].to_numpy(float))
        axes.set_xticks(range(len(values)), [_tick(value) for value in values], fontsize=9)
        axes.set_xlim(-0.5, len(values) - 0.4)
        axes.grid(visible=False, axis="x")
    # The interval of a few configurations can be far wider than what they scored.
    low, high = float(rows["value"].min()), float(rows["value"].max())
    room = 0.25 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(name, fontsize=10)
    axes.set_ylabel(f"screening {view.score_label}", fontsize=10)
    return figure


def _dots(axes, x: np.ndarray, rows: pd.DataFrame) -> None:
    stopped = (rows["status"] == "STOPPED").to_numpy()
    y = rows["value"].to_numpy(float)
    axes.plot(x[~stopped], y[~stopped], "o", color=COLOURS[0], ms=5, alpha=0.75)
    axes.plot(x[stopped], y[stopped], "o", color=GREY, ms=5, mfc="none")


def _mean(axes, at: int, values: np.ndarray) -> None:
    e = stats.mean_interval(values)
    axes.plot([at + 0.25], [e.est], "_", color=COLOURS[1], ms=12, mew=2.2)
    if not np.isnan(e.lo):
        axes.plot([at + 0.25] * 2, [e.lo, e.hi], color=COLOURS[1], lw=1.6)
    axes.annotate(
        f"n={e.n}",
        (at + 0.25, e.est),
        textcoords="offset points",
        xytext=(7, 2),
        fontsize=7.5,
        color="#374151",
    )


def _tick(value: object) -> str:
    return f"{value:,g}" if isinstance(value, float) else str(value)
