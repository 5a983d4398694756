"""Learning curves with an interval over seeds on a common axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.compare import labels
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check
from analysis.scores import points, trains_offline

AXES = {
    "env_steps": "env_steps",
    "epochs": "epoch",
    "gpu_hours": "gpu_s",
    "wall_hours": "wall_time_s",
}


@reads
def curves(
    frames: Frames,
    *,
    score: str = "return_mean",
    x: str | None = None,
    by: str = "arm",
    stage: str | None = "confirm",
    points_per_curve: int = 200,
) -> pd.DataFrame:
    """Mean over seeds with its t interval: columns task, `by`, x, est, lo, hi, n, method, and after
    the task `cell` where the sweep compares at several values.

    x: "env_steps" (the default, or "epochs" where none are taken) and "epochs" use the evaluation
    grid that the seeds share; where they share none, and for "gpu_hours" and "wall_hours", every
    seed is interpolated on `points_per_curve` common points. by: arm, label (arms as they are
    compared), config_id or stage.
    Nothing is extrapolated: `n` falls where seeds have not got that far. Trials that a scheduler
    stopped are left out (their mean would be one of survivors). stage=None takes all stages.

    Raises:
        InputError: unknown score, axis, grouping or stage; gpu_hours where no trial has a GPU.
    """
    x = axis_of(frames) if x is None else x
    check("x", x, AXES)
    rows = seed_curves(frames, score=score, x=x, stage=stage)
    check("grouping", by, ("arm", "label", "config_id", "stage"))
    rows = rows[rows["status"] != "STOPPED"].dropna(subset=["x"])
    out: list[dict[str, Any]] = []
    for (task, cell, name), group in rows.groupby(["task", "cell", by], sort=True):
        grid, values = _on_grid(group, points_per_curve, shared=x in ("env_steps", "epochs"))
        for at, column in zip(grid, values.T, strict=True):
            found = column[~np.isnan(column)]
            e = stats.mean_interval(found)
            out.append(
                {"task": task, "cell": cell, by: name, x: at}
                | {"est": e.est, "lo": e.lo, "hi": e.hi, "n": e.n, "method": e.method}
            )
    several = ["cell"] if rows["cell"].any() else []
    columns = ["task", *several, by, x, "est", "lo", "hi", "n", "method"]
    return pd.DataFrame(out, columns=columns)


def axis_of(frames: Frames) -> str:
    """What says how far a run is: "env_steps", or "epochs" where none are taken."""
    return "epochs" if trains_offline(frames) else "env_steps"


@reads
def seed_curves(
    frames: Frames,
    *,
    score: str = "return_mean",
    x: str | None = None,
    stage: str | None = "confirm",
) -> pd.DataFrame:
    """Every evaluation of every trial: trial_id, task, cell, place, arm, label, config_id, stage,
    seed, status, then the axis `x` and the score `value`.

    Raises:
        InputError: as `curves`.
    """
    x = axis_of(frames) if x is None else x
    check("x", x, AXES)
    rows = points(frames, score)
    if stage is not None:
        if len(frames.trials):
            check("stage", stage, {*frames.trials["stage"], "confirm"})
        rows = rows[rows["stage"] == stage]
    if x == "gpu_hours" and len(rows) and not (rows["num_gpus"] > 0).any():
        raise InputError("x='gpu_hours' needs a GPU, and no trial had one; use x='wall_hours'")
    axis = rows[AXES[x]].astype(float)
    rows = rows.assign(x=axis / 3600 if x.endswith("_hours") else axis)
    rows = labels(frames, rows)
    names = ["trial_id", "task", "cell", "place", "arm", "label", "config_id", "stage", "seed"]
    return rows[[*names, "status", "x", "value"]].reset_index(drop=True)


def _on_grid(group: pd.DataFrame, count: int, *, shared: bool) -> tuple[np.ndarray, np.ndarray]:
    """The axis [P] and each trial's values on it [N, P]; NaN where a trial has none."""
    trials = [
        (trial["x"].to_numpy(float), trial["value"].to_numpy(float))
        for _, trial in group.groupby("trial_id", sort=True)
    ]
    longest = max((xs for xs, _ in trials), key=len)
    # Seeds of one configuration evaluate at the same steps; a running one has the first of them.
    if shared and all(np.isin(xs, longest).all() for xs, _ in trials):
        values = np.full((len(trials), len(longest)), np.nan)
        for row, (xs, ys) in zip(values, trials, strict=True):
            row[np.searchsorted(longest, xs)] = ys
        return longest, values
    low, high = min(xs[0] for xs, _ in trials), max(xs[-1] for xs, _ in trials)
    grid = np.linspace(low, high, count) if high > low else np.array([low])
    return grid, np.stack([_interpolate(grid, xs, ys) for xs, ys in trials])


def _interpolate(grid: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    inside = (grid >= xs[0]) & (grid <= xs[-1])
    return np.where(inside, np.interp(grid, xs, ys), np.nan)
