"""From evaluation rows to one score a trial: final, peak, area under the curve, collapse.

The smoothed curve at an evaluation is the mean of the last `window` evaluations up to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, unknown
from analysis.stability import COLUMNS as STABILITY
from analysis.stability import stability
from sweeps.core.reference.margins import max_return
from sweeps.core.store.schema import DONE_STATUSES, EVALS, SCORE_WINDOW

WINDOW = SCORE_WINDOW
#: Scores in the unit of a task's returns.
RETURNS = ("return_mean", "return_median", "return_iqm")
DONE = DONE_STATUSES

_KEYS = ["trial_id", "task", "epoch", "env_steps", "wall_time_s"]
_NO_SCORE = {*EVALS.names[: EVALS.names.index("n")], "returns"}
_TRIAL = [
    "trial_id",
    "arm",
    "config_id",
    "stage",
    "seed",
    "status",
    "failure_class",
    "num_gpus",
    "env_steps",
    "epochs_done",
    "wall_time_s",
]


def scale_of(
    task: str, scale: float | Mapping[str, float] | None, score: str = "return_mean"
) -> float:
    """The best possible score on `task`, the unit of margins and floors; NaN where none is known.

    Raises:
        InputError: `scale` does not have the task, or is not above 0.
    """
    if scale is None:
        if score in RETURNS:
            return max_return(task)
        return 1.0 if score == "success" else math.nan
    if isinstance(scale, Mapping):
        if task not in scale:
            raise unknown("task in scale", task, scale)
        scale = scale[task]
    if not 0 < float(scale) < math.inf:
        raise InputError(f"scale must be above 0, got {scale}")
    return float(scale)


def known_scale(task: str, scale: float | Mapping[str, float] | None, score: str) -> float:
    """As `scale_of`.

    Raises:
        InputError: as well where none is known: of such a score more may be worse.
    """
    top = scale_of(task, scale, score)
    if math.isnan(top):
        raise InputError(
            f"what the best possible {score!r} is on {task!r} is not known; give scale, if more of "
            "it is better"
        )
    return top


def check_window(window: object) -> None:
    """Raise InputError where no mean is over so many evaluations."""
    if not isinstance(window, int) or window < 1:
        raise InputError(f"window must be at least 1, a whole number, got {window!r}")


def score_columns(frames: Frames) -> list[str]:
    """What can be a score: columns of evaluations, then report metrics."""
    evals = [name for name in frames.evals.columns if name not in _NO_SCORE]
    reports = [
        name
        for name in frames.reports.columns
        if name not in ("trial_id", "attempt", "epoch", "env_steps")
    ]
    return [*evals, *reports]


def points(frames: Frames, score: str) -> pd.DataFrame:
    """Every value of `score` with its trial: task, arm, config_id, stage, seed, status, epoch,
    env_steps, progress, wall_time_s, gpu_s, value; ordered by trial, task and epoch.

    progress is env_steps, or the epoch where none of the trials takes environment steps.

    Raises:
        InputError: no such score; the line names the nearest.
    """
    if score not in score_columns(frames):
        raise unknown("score", score, score_columns(frames))
    tasks = frames.trials[["trial_id", "task"]]
    if score in frames.evals.columns:
        rows = frames.evals[_KEYS].assign(value=frames.evals[score].astype(float))
    else:
        reports = frames.reports.merge(tasks, on="trial_id")
        clock = "time/wall_s"
        seconds = reports[clock] if clock in reports.columns else np.nan
        rows = reports.assign(wall_time_s=seconds, value=reports[score].astype(float))
        rows = rows[[*_KEYS, "value"]]
    about = frames.trials[_TRIAL].drop(columns=["env_steps", "epochs_done", "wall_time_s"])
    rows = rows.merge(about, on="trial_id")
    rows["task"] = rows["task"].fillna(rows["trial_id"].map(tasks.set_index("trial_id")["task"]))
    rows["gpu_s"] = rows["wall_time_s"] * rows["num_gpus"].fillna(0.0)
    rows["progress"] = rows["epoch" if trains_offline(frames) else "env_steps"]
    return rows.sort_values(["trial_id", "task", "epoch"], kind="stable", ignore_index=True)


def trains_offline(frames: Frames) -> bool:
    """Whether no trial has taken an environment step, though some were evaluated."""
    return len(frames.evals) > 0 and not (frames.evals["env_steps"] > 0).any()


def smoothed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Trailing mean of `values [T]`, of what there is before `window` values exist."""
    return pd.Series(values, dtype=float).rolling(window, min_periods=1).mean().to_numpy()


@reads
def trial_scores(
    frames: Frames,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    diverged: float | None = 0.0,
    scale: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """One row a (trial, task): arm, config_id, stage, seed, status, env_steps, epochs_done,
    wall_time_s, gpu_s, run_task (what the trial trained on, of several tasks perhaps), evaluations,
    value (the score `at`), final, aulc, peak (biased: a maximum), final_peak, drawdown, collapsed,
    collapsed_at (see `analysis.stability`), diverged.

    at: "final" (mean of the last `window` evaluations), "peak", "aulc" (area under the smoothed
    curve over env steps, divided by their range) or a number of env steps (the score at the last
    evaluation up to it; missing if the trial had none); epochs take the place of env steps where
    none are taken. A trial that diverged, or whose score is not a number, counts as `diverged` (a
    policy that does nothing); None leaves it missing.

    Raises:
        InputError: unknown score, `at` that is unknown or beyond every run, a wrong window, a
            wrong scale.
    """
    check_window(window)
    known = ("final", "peak", "aulc")
    if isinstance(at, str) and at not in known:
        raise unknown("at", at, [*known, "<env steps>"])
    rows = points(frames, score)
    if not isinstance(at, str):
        _check_budget(at, rows)
        rows = rows[rows["progress"] <= at]
    curves = [
        {"trial_id": trial_id, "task": task}
        | _curve(group, window, scale_of(str(task), scale, score))
        for (trial_id, task), group in rows.groupby(["trial_id", "task"], sort=False)
    ]
    columns = [
        "trial_id",
        "task",
        *("evaluations", "final", "aulc", *STABILITY, "bad"),
    ]
    found = pd.DataFrame(curves, columns=columns)
    blank = _without_scores(frames, found).assign(evaluations=0, collapsed=False, bad=False)
    found = pd.concat([found, blank], ignore_index=True) if len(blank) else found
    about = frames.trials[_TRIAL].assign(run_task=frames.trials["task"])
    out = about.merge(found, on="trial_id")
    out["gpu_s"] = out["wall_time_s"] * out["num_gpus"].fillna(0.0)
    out["collapsed"] = out["collapsed"].astype(bool)
    out["diverged"] = out["bad"].astype(bool) | (out["failure_class"] == "diverged").fillna(False)
    out["value"] = out["final" if not isinstance(at, str) else at].astype(float)
    if diverged is not None:
        out.loc[out["diverged"], ["value", "final"]] = diverged
    return out.drop(columns="bad")


def _check_budget(at: float, rows: pd.DataFrame) -> None:
    if not at > 0:
        raise InputError(f"at must be above 0, got {at}")
    if len(rows) and at > (most := float(rows["progress"].max())):
        raise InputError(f"at {at:,.0f} is beyond the longest run, which has {most:,.0f}")


def _without_scores(frames: Frames, found: pd.DataFrame) -> pd.DataFrame:
    """(trial_id, task) of trials that have no score yet, a row for every task they train on."""
    tasks = found.merge(frames.trials[["trial_id", "task"]], on="trial_id", suffixes=("", "_run"))
    known = tasks.groupby("task_run", sort=False)["task"].unique().to_dict()
    missing = frames.trials[~frames.trials["trial_id"].isin(found["trial_id"])]
    rows = [
        {"trial_id": trial_id, "task": task}
        for trial_id, run in zip(missing["trial_id"], missing["task"], strict=True)
        for task in known.get(run, str(run).split("+"))
    ]
    return pd.DataFrame(rows, columns=["trial_id", "task"])


def _curve(group: pd.DataFrame, window: int, scale: float) -> dict[str, object]:
    values = group["value"].to_numpy(float)
    steps = group["progress"].to_numpy(float)
    smooth = smoothed(values, window)
    final = float(values[-window:].mean())
    span = steps[-1] - steps[0]
    return {
        "evaluations": len(values),
        "final": final,
        **stability(smooth, steps, final=final, window=window, scale=scale),
        "aulc": float(np.trapezoid(smooth, steps) / span) if span > 0 else float(smooth[-1]),
        "bad": not np.isfinite(final),
    }


def usable(scores: pd.DataFrame) -> pd.Series:
    """Which rows are results: whole runs, and runs that diverged (they count as such)."""
    ended = scores["status"].isin(DONE) | (scores["diverged"] & (scores["status"] == "FAILED"))
    return ended & scores["value"].notna()
