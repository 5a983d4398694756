"""Several tasks as one number: aggregates, performance profiles, the chance of improvement.

Scores are normalised first, z = (R - zero) / (one - zero), by a fixed table with a version
(`sweeps/core/reference/scales.csv`), never by what the sweep happened to reach. What is missing is
told: only tasks count on which every arm has a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats, strata
from analysis.cells import in_order
from analysis.compare import arm_scores
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check, unknown
from analysis.scores import RETURNS, WINDOW
from analysis.strata import Strata, strata_of
from sweeps.core.reference import scales
from sweeps.core.reference.scales import Scale

GROUPS = ("label", "arm", "config_id")
TAUS = 51
#: What scores are divided by when nothing else is said; its version is the table's.
TABLE = f"table {scales.VERSION}"
_ESTIMATE = ("est", "lo", "hi", "n", "method")

Scales = Mapping[str, float | tuple[float, float]]


@reads
def aggregate(
    frames: Frames,
    *,
    by: str = "label",
    stat: str | Collection[str] = tuple(strata.STATISTICS),
    normalize: Scales | None = None,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    stage: str = "confirm",
    reps: int = strata.REPS,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a (cell, group, statistic): est, lo, hi, n (seeds a task; the fewest), method, tasks,
    runs, missing (tasks left out since not every group has a result there), scale.

    by: "label" (arms as `compare` names them), "arm" or "config_id". stat: of "iqm" (over all runs:
    the middle half), "mean", "median" (of the tasks' means), "optimality_gap" (what is missing to
    1, for runs below it). normalize: by task the return that counts as 1, or what counts as 0 and
    as 1; tasks that it does not name are in the fixed table. A run that diverged counts as a return
    of 0. reps and seed are the bootstrap's; the mean has a t interval.

    Raises:
        InputError: unknown grouping, statistic, score or stage; a task without a scale.
    """
    names = [stat] if isinstance(stat, str) else list(stat)
    for name in names:
        check("statistic", name, strata.STATISTICS)
    options = {"score": score, "at": at, "window": window, "stage": stage}
    rows: list[dict[str, Any]] = []
    for cell in _cells(frames, by, normalize, options):
        for group, found in cell.strata.items():
            about = {"cell": cell.name, by: group}
            size = {"tasks": found.tasks, "runs": found.runs}
            for name in names:
                estimate = strata.estimate(found, name, reps=reps, seed=seed)
                told = {"missing": ", ".join(cell.missing), "scale": _scale_name(normalize)}
                rows.append(
                    about | {"statistic": name} | dataclasses.asdict(estimate) | size | told
                )
    return pd.DataFrame(
        rows,
        columns=["cell", by, "statistic", *_ESTIMATE, "tasks", "runs", "missing", "scale"],
    )


@reads
def performance_profile(
    frames: Frames,
    *,
    taus: int | Collection[float] = TAUS,
    by: str = "label",
    normalize: Scales | None = None,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    stage: str = "confirm",
    reps: int = strata.REPS,
    seed: int = 0,
) -> pd.DataFrame:
    """The share of runs whose normalised score is above tau: columns cell, `by`, tau, est, lo, hi,
    n, method; the interval is pointwise, tasks weigh the same.

    taus: values, or so many from 0 to the best score (at least to 1). The others are `aggregate`'s.

    Raises:
        InputError: as `aggregate`, or less than 2 taus.
    """
    options = {"score": score, "at": at, "window": window, "stage": stage}
    tables = []
    for cell in _cells(frames, by, normalize, options):
        grid = _taus(taus, cell.strata.values())
        for group, found in cell.strata.items():
            if not found.n:
                continue
            est, lo, hi = strata.profile(found, grid, reps=reps, seed=seed)
            bounded = not np.isnan(lo).any()
            method = "stratified bootstrap" if bounded else stats.no_interval(found.n)
            columns = {"tau": grid, "est": est, "lo": lo, "hi": hi, "n": found.n, "method": method}
            tables.append(pd.DataFrame({"cell": cell.name, by: group} | columns))
    blank = pd.DataFrame(columns=["cell", by, "tau", *_ESTIMATE])
    return pd.concat(tables, ignore_index=True) if tables else blank


@reads
def prob_improvement(
    frames: Frames,
    x: str,
    y: str,
    *,
    by: str = "label",
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    stage: str = "confirm",
) -> pd.DataFrame:
    """The chance that a run of `x` scores above a run of `y` on the same task: a row a task and one
    for all ("all"), with columns cell, task, x, y, est, lo, hi, n, method, tasks.

    A tie counts half. It says how often, not by how much; it needs no scale.

    Raises:
        InputError: `x` or `y` is none of the groups; unknown grouping, score or stage.
    """
    scores = _results(frames, by, {"score": score, "at": at, "window": window, "stage": stage})
    for name in (x, y):
        if name not in set(scores[by]):
            raise unknown(by, name, scores[by].unique())
    rows: list[dict[str, Any]] = []
    for cell in sorted(scores["axes"].unique(), key=in_order):
        pair = scores[(scores["axes"] == cell) & scores[by].isin([x, y])]
        shared = _shared(pair, by, [x, y])
        for task in [*sorted(shared["task"].unique()), "all"]:
            some = shared if task == "all" else shared[shared["task"] == task]
            ours, theirs = (strata_of(some[some[by] == name], "value") for name in (x, y))
            estimate = dataclasses.asdict(strata.improvement(ours, theirs))
            about = {"cell": cell, "task": task, "x": x, "y": y}
            rows.append(about | estimate | {"tasks": ours.tasks})
    return pd.DataFrame(rows, columns=["cell", "task", "x", "y", *_ESTIMATE, "tasks"])


@reads
def coverage(frames: Frames, *, stage: str = "confirm", **options: Any) -> pd.DataFrame:
    """What there is and what is missing: a row a (task, cell, label) with the number of seeds
    planned, with a result, diverged, failed, stopped, unfinished. `options` are `arm_scores`'.

    Raises:
        InputError: unknown score or stage.
    """
    scores = arm_scores(frames, stage=stage, **options)
    status = scores["status"]
    diverged = scores["diverged"] & scores["counts"]
    told = scores[["task", "cell", "label"]].assign(
        planned=1,
        results=scores["counts"],
        diverged=diverged,
        failed=(status == "FAILED") & ~diverged,
        stopped=status == "STOPPED",
        unfinished=status.isin(["PENDING", "QUEUED", "RUNNING", "INTERRUPTED"]),
    )
    return told.groupby(["task", "cell", "label"], sort=True).sum().astype(int).reset_index()


@dataclasses.dataclass(frozen=True)
class _Cell:
    """The normalised scores of every group at one cell, on the tasks that all of them have."""

    name: str
    strata: Mapping[str, Strata]
    missing: list[str]


def _cells(
    frames: Frames, by: str, normalize: Scales | None, options: Mapping[str, Any]
) -> Iterator[_Cell]:
    scores = _results(frames, by, options)
    known = {t: _scale_of(t, normalize, options["score"]) for t in scores["task"].unique()}
    z = [
        (value - known[task].zero) / (known[task].one - known[task].zero)
        for task, value in zip(scores["task"], scores["value"], strict=True)
    ]
    scores = scores.assign(z=np.asarray(z, float))
    for name in sorted(scores["axes"].unique(), key=in_order):
        rows = scores[scores["axes"] == name]
        groups = sorted(rows[by].unique())
        shared = _shared(rows, by, groups)
        found = {group: strata_of(shared[shared[by] == group], "z") for group in groups}
        yield _Cell(name, found, sorted({*rows["task"]} - {*shared["task"]}))


def _results(frames: Frames, by: str, options: Mapping[str, Any]) -> pd.DataFrame:
    check("grouping", by, GROUPS)
    scores = arm_scores(frames, **options)
    return scores[scores["counts"]]


def _shared(rows: pd.DataFrame, by: str, groups: Collection[str]) -> pd.DataFrame:
    """The rows of runs of which every group has some."""
    having = rows.groupby("run_task")[by].nunique()
    return rows[rows["run_task"].isin(having.index[having == len(groups)])]


def _scale_of(task: str, normalize: Scales | None, score: str) -> Scale:
    known = scales.scales().get(task) if score in RETURNS else None
    if score == "success":
        known = Scale(0.0, 1.0)
    given = (normalize or {}).get(task, known)
    if given is None:
        raise InputError(
            f"what counts as a full {score!r} on {task!r} is not known; "
            f"give normalize={{{task!r}: (zero, one)}}"
        )
    zero, one = (0.0, float(given)) if isinstance(given, (int, float)) else map(float, given)
    if not one > zero:
        raise InputError(f"the scale of {task!r} must rise, got {zero:g} to {one:g}")
    return Scale(zero, one)


def _scale_name(normalize: Scales | None) -> str:
    return TABLE if normalize is None else f"given, else {TABLE}"


def _taus(taus: int | Collection[float], groups: Collection[Strata]) -> np.ndarray:
    if not isinstance(taus, int):
        return np.asarray(sorted(taus), float)
    if taus < 2:
        raise InputError(f"a profile needs at least 2 taus, got {taus}")
    best = max((m.max() for group in groups for m in group.matrices), default=1.0)
    return np.linspace(0.0, max(1.0, float(best)), taus)
