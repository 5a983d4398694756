"""The winner's curse made visible: scores that configurations were chosen by, and fresh ones."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis import stats
from analysis.figures.style import COLOURS, GREY, panel
from analysis.figures.view import View
from analysis.scores import usable
from sweeps.core.store.schema import PARAM_PREFIX

#: Up to so many points each has its n beside it; the legend has the range of all.
NAMED = 12
_FRESH = {"select": ("selection seeds", "s"), "confirm": ("test seeds", "o")}


def panels(view: View) -> list[str]:
    """Tasks on which a screened configuration was measured again."""
    return sorted(_pairs(view)["task"].unique())


def draw(view: View, task: str) -> Figure:
    """Below the diagonal a configuration looked better than it is."""
    table = _pairs(view)
    table = table[table["task"] == task]
    figure, axes = panel(height=3.4)
    both = table[["screened", "est"]]
    low, high = float(both.min().min()), float(both.max().max())
    room = 0.12 * (high - low) or 1.0
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=GREY, lw=1)
    for number, (stage, rows) in enumerate(table.groupby("stage", sort=False)):
        name, marker = _FRESH[str(stage)]
        colour = COLOURS[number]
        axes.plot(
            rows["screened"],
            rows["est"],
            marker,
            color=colour,
            ms=6,
            label=f"{name}, {_seeds(rows)}",
        )
        axes.vlines(rows["screened"], rows["lo"], rows["hi"], color=colour, lw=1.4)
        for row in rows.to_dict("records") if len(table) <= NAMED else ():
            axes.annotate(
                f"n={row['n']}",
                (row["screened"], row["est"]),
                textcoords="offset points",
                xytext=(6, 3),
                fontsize=7.5,
                color="#374151",
            )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_title(task, fontsize=11, loc="left")
    axes.set_xlabel("screening score (one seed, biased)", fontsize=10)
    axes.set_ylabel("score on fresh seeds", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _seeds(rows: pd.DataFrame) -> str:
    fewest, most = rows["n"].min(), rows["n"].max()
    return f"n={fewest}" if fewest == most else f"n={fewest}–{most}"


def _pairs(view: View) -> pd.DataFrame:
    """task, config (what it holds), screened (its score then), stage, est, lo, hi, n (fresh)."""
    scores = view.scores[usable(view.scores)]
    # Stages differ in episodes and budget, so a configuration is known by its parameters.
    params = [name for name in view.frames.trials.columns if name.startswith(PARAM_PREFIX)]
    trials = view.frames.trials[["trial_id", *params]].itertuples(index=False, name=None)
    held = {trial_id: repr(values) for trial_id, *values in trials}
    scores = scores.assign(config=scores["trial_id"].map(held))
    keys = ["task", "arm", "config"]
    screened = scores[scores["stage"] == "screen"].groupby(keys)["value"].mean().to_dict()
    rows = []
    for stage in _FRESH:
        fresh = scores[scores["stage"] == stage]
        for key, group in fresh.groupby(keys, sort=True):
            if key not in screened:
                continue
            e = stats.mean_interval(group["value"].to_numpy(float))
            rows.append((key[0], key[2], float(screened[key]), stage, e.est, e.lo, e.hi, e.n))
    names = ["task", "config", "screened", "stage", "est", "lo", "hi", "n"]
    return pd.DataFrame(rows, columns=names)
