"""A row for every configuration: where it ended, how it got there, what it cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import check
from analysis.scores import WINDOW, trial_scores, usable

GROUPS = ("stage", "task", "arm", "config_id", "seed", "trial_id")


@reads
def summarize(
    frames: Frames,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    by: Sequence[str] = ("stage", "task", "arm", "config_id"),
    scale: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Scores over seeds: est, lo, hi, n, method (mean with t), then iqm (with a bootstrap interval
    from 10 seeds on), sd and iqr over seeds, min, max, peak (biased: a maximum), final_peak,
    drawdown, aulc, collapsed (count, with Wilson's interval of the share), diverged, stopped,
    failed, running, env_steps, wall_hours and gpu_hours per seed, biased.

    `n` counts whole runs and diverged ones. Runs stopped by a scheduler are counted in `stopped`
    and not averaged: they ended at another budget. biased: the row is not of the confirm stage,
    so a best one among its like looks better than it is. Best first within stage and task.

    Raises:
        InputError: unknown score or grouping.
    """
    for name in by:
        check("grouping", name, GROUPS)
    scores = trial_scores(frames, score=score, at=at, window=window, scale=scale)
    rows = [
        dict(zip(by, key, strict=True)) | _row(group)
        for key, group in scores.groupby(list(by), sort=True, dropna=False)
    ]
    table = pd.DataFrame(rows, columns=[*by, *_COLUMNS])
    if "stage" in by:
        table["biased"] = table["stage"] != "confirm"
        table["_order"] = table["stage"].map({"confirm": 0, "select": 1}).fillna(2)
    else:
        table["biased"] = bool((scores["stage"] != "confirm").any())
        table["_order"] = 0
    keys = ["_order", *(["task"] if "task" in by else []), "est"]
    ascending = [True] * (len(keys) - 1) + [False]
    ordered = table.sort_values(keys, ascending=ascending, kind="stable", ignore_index=True)
    return ordered.drop(columns="_order")


_COLUMNS = [
    *("est", "lo", "hi", "n", "method"),
    *("iqm", "iqm_lo", "iqm_hi"),
    *("sd", "iqr", "min", "max", "peak", "final_peak", "drawdown", "aulc"),
    *("collapsed", "collapsed_lo", "collapsed_hi"),
    *("diverged", "stopped", "failed", "running"),
    *("env_steps", "wall_hours", "gpu_hours"),
]


def _row(group: pd.DataFrame) -> dict[str, Any]:
    results = group[usable(group)]
    values = results["value"].to_numpy(float)
    n = len(values)
    iqm = float(stats.iqm(values)) if n else math.nan
    lo = hi = math.nan
    if n >= stats.MIN_SEEDS_BOOTSTRAP:
        boot = stats.bootstrap_iqm(values)
        lo, hi = boot.lo, boot.hi
    collapsed = int(results["collapsed"].sum())
    share = stats.wilson(collapsed, n)
    failed = (group["status"] == "FAILED") & ~group["diverged"]
    return {
        **dataclasses.asdict(stats.mean_interval(values)),
        "iqm": iqm,
        "iqm_lo": lo,
        "iqm_hi": hi,
        "sd": float(values.std(ddof=1)) if n > 1 else math.nan,
        "iqr": float(np.subtract(*np.quantile(values, [0.75, 0.25]))) if n else math.nan,
        "min": float(values.min()) if n else math.nan,
        "max": float(values.max()) if n else math.nan,
        "peak": _mean(results["peak"]),
        "final_peak": _mean(results["final_peak"]),
        "drawdown": _mean(results["drawdown"]),
        "aulc": _mean(results["aulc"]),
        "collapsed": collapsed,
        "collapsed_lo": share.lo,
        "collapsed_hi": share.hi,
        "diverged": int(group["diverged"].sum()),
        "stopped": int((group["status"] == "STOPPED").sum()),
        "failed": int(failed.sum()),
        "running": int(group["status"].isin(["RUNNING", "QUEUED", "PENDING"]).sum()),
        "env_steps": _mean(results["env_steps"]),
        "wall_hours": _mean(results["wall_time_s"]) / 3600,
        "gpu_hours": _mean(results["gpu_s"]) / 3600,
    }


def _mean(values: pd.Series) -> float:
    found = values.to_numpy(float)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else math.nan


@reads
def failures(frames: Frames) -> pd.DataFrame:
    """Failed trials: trial_id, arm, stage, task, seed, attempt, epochs_done, epochs, failure_class,
    last_line (of the failure's message) and log_path."""
    names = ["trial_id", "arm", "stage", "task", "seed", "attempt", "epochs_done", "epochs"]
    failed = frames.trials[frames.trials["status"] == "FAILED"]
    return failed[names].assign(
        failure_class=failed["failure_class"].fillna("error"),
        last_line=[last_line(text) for text in failed["failure_message"]],
        log_path=failed["log_path"],
    )


def last_line(text: object) -> str:
    """The last line with text in it, "" if there is none; what would steer a terminal is cut."""
    lines = str(text).strip().splitlines() if isinstance(text, str) else []
    return "".join(c for c in lines[-1].strip() if c.isprintable()) if lines else ""
