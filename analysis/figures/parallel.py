"""Parallel coordinates: every screened configuration a line through its hyperparameters."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import GREY, opacity
from analysis.figures.view import View
from sweeps.core.store.schema import PARAM_PREFIX

#: The best of the lines stand out, and lie above the others.
BRIGHT = 0.1
FEWEST_AXES = 2


def panels(view: View) -> list[str]:
    """Tasks in whose screening at least two hyperparameters varied."""
    rows = view.screened
    tasks = sorted(rows["task"].unique())
    return [task for task in tasks if len(_varied(rows[rows["task"] == task])) >= FEWEST_AXES]


def draw(view: View, task: str) -> Figure:
    """Colour is the score; stopped configurations are thin and grey."""
    rows = view.screened
    rows = rows[rows["task"] == task].sort_values("value")
    names = _varied(rows)
    places = [_Coordinate(rows[name]) for name in names]
    places.append(_Coordinate(rows["value"], most_ticks=0))
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    lines = np.column_stack([place.heights for place in places])
    score = places[-1].heights
    whole = (rows["status"] != "STOPPED").to_numpy()
    bright = whole & (score >= np.quantile(score[whole], 1 - BRIGHT) if whole.any() else whole)
    shades, alpha = mpl.colormaps["cividis_r"], opacity(len(lines), most=0.5)
    for line, height, counted, best in zip(lines, score, whole, bright, strict=True):
        look: dict[str, Any] = {
            "color": shades(height),
            "lw": 1.8 if best else 0.9,
            "alpha": 0.95 if best else alpha,
        }
        if not counted:
            look: dict[str, Any] = {"color": GREY, "lw": 0.8, "alpha": alpha}
        axes.plot(range(len(places)), line, **look)
    for at, place in enumerate(places):
        _axis(axes, at, place)
    axes.set_xticks(range(len(places)), [*map(_short, names), f"screening\n{view.score_label}"])
    axes.tick_params(axis="x", length=0, labelsize=8)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.25, len(places) - 0.55)
    axes.set_title(f"{task} (n={int(whole.sum())} whole runs)", fontsize=11, loc="left")
    return figure


class _Coordinate:
    """One of the axes: where each run is on it (0 to 1), and what stands beside it."""

    def __init__(self, values: pd.Series, most_ticks: int = 8) -> None:
        known = values.dropna()
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            numbers = values.to_numpy(float)
            if known.nunique() <= most_ticks:
                order = {value: i for i, value in enumerate(sorted(known.unique()))}
                numbers = values.map(order).to_numpy(float)
                self.ticks = self._spread([f"{value:g}" for value in order])
            else:
                low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
                self.ticks = [(0.0, f"{low:,.4g}"), (1.0, f"{high:,.4g}")]
        else:
            order = {value: i for i, value in enumerate(sorted(known.astype(str).unique()))}
            numbers = values.astype(str).map(order).to_numpy(float)
            self.ticks = self._spread(list(order))
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        self.heights = (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)

    @staticmethod
    def _spread(names: list[str]) -> list[tuple[float, str]]:
        last = len(names) - 1
        return [(i / last if last else 0.5, name) for i, name in enumerate(names)]


def _axis(axes: Axes, at: int, place: _Coordinate) -> None:
    axes.plot([at, at], [0, 1], color="#374151", lw=1)
    for height, text in place.ticks:
        axes.annotate(
            text,
            (at, height),
            textcoords="offset points",
            xytext=(4, 0),
            va="center",
            fontsize=7.5,
            bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.8},
        )


def _varied(rows: pd.DataFrame) -> list[str]:
    names = [str(name) for name in rows.columns if str(name).startswith(PARAM_PREFIX)]
    return [name for name in names if rows[name].dropna().nunique() > 1]


def _short(name: str) -> str:
    return name.removeprefix(PARAM_PREFIX).replace(".", ".\n")
