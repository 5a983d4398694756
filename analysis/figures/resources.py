"""What trials used: memory and throughput over their epochs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import GREY, colours, panel, short_numbers
from analysis.figures.view import View

#: Panel: the column of reports, what one of it is in units, its name on an axis.
MEASURES = {
    "host memory": ("memory/host_bytes", 1e9, "host memory (GB)"),
    "device memory": ("memory/device_peak_bytes", 1e9, "peak device memory (GB)"),
    "throughput": ("rate/env_steps_per_s", 1.0, "env steps per second"),
}
#: More lines than this are one colour and thin: what counts then is the one that leaves the others.
MANY = 40


def panels(view: View) -> list[str]:
    """What was measured in any trial and is not 0 throughout."""
    reports = view.frames.reports
    return [
        name
        for name, (column, _, _) in MEASURES.items()
        if column in reports and bool((reports[column] > 0).any())
    ]


def draw(view: View, name: str) -> Figure:
    """A line a trial, coloured by arm; what it asked for is dotted."""
    column, size, label = MEASURES[name]
    about = view.frames.trials[["trial_id", "arm", "memory_request_bytes"]]
    rows = view.frames.reports[["trial_id", "epoch", column]].dropna().merge(about, on="trial_id")
    rows = rows[rows[column] > 0]
    colour = colours(rows["arm"])
    n = rows["trial_id"].nunique()
    figure, axes = panel()
    named: set[str] = set()
    for (arm, _), trial in rows.groupby(["arm", "trial_id"]):
        text = (
            "_"
            if arm in named
            else f"{arm} (n={rows.loc[rows['arm'] == arm, 'trial_id'].nunique()})"
        )
        named.add(str(arm))
        width, alpha = (1.1, 0.8) if n <= MANY else (0.5, 0.3)
        axes.plot(
            trial["epoch"],
            trial[column] / size,
            color=colour[str(arm)],
            lw=width,
            alpha=alpha,
            label=text,
        )
    if name == "host memory":
        _requests(axes, rows, size)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epochs", fontsize=10)
    axes.set_ylabel(label, fontsize=10)
    short_numbers(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _requests(axes, rows: pd.DataFrame, size: float) -> None:
    asked = rows["memory_request_bytes"].dropna().unique() / size
    used = float((rows["memory/host_bytes"] / size).max())
    for request in sorted(asked):
        if 0 < request <= 3 * used:  # farther off it would flatten what was used
            axes.axhline(request, color=GREY, lw=1, ls=":")
            axes.annotate(
                "asked for", (0.01, request), xycoords=("axes fraction", "data"), fontsize=8
            )
