"""What a score costs: hours, steps and evaluations of the field, and scores at equal budgets.

Learning later and learning less look alike in a final score. Here runs are compared where they have
spent the same, and by when they got to a threshold; a run that never got there counts as one that
had not by its end.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from analysis import stats
from analysis.compare import in_cells, labels
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check
from analysis.scores import DONE, WINDOW, check_window, known_scale, points, smoothed
from analysis.stats import Estimate
from analysis.verdict import number

THRESHOLD = 0.9
#: The axes a budget can be on: the column of `points`, its unit, and what one of it is in units.
BUDGETS = {
    "env_steps": ("env_steps", "env steps", 1.0),
    "epochs": ("epoch", "epochs", 1.0),
    "wall_hours": ("wall_time_s", "h", 3600.0),
    "gpu_hours": ("gpu_s", "h", 3600.0),
}
_COLUMNS = ["task", "cell", "label", "quantity", "unit", "est", "lo", "hi", "n", "method"]


@reads
def cost(
    frames: Frames,
    *,
    threshold: float = THRESHOLD,
    score: str = "return_mean",
    window: int = WINDOW,
    stage: str = "confirm",
    price: float | None = None,
    scale: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """A row a (task, cell, label, quantity) of whole runs: unit, est, lo, hi, n, method.

    Quantities: env_steps, epochs, wall_hours, gpu_hours (where there was a GPU) of a run; nfe
    (evaluations of the field in a step of the flow), parameters; price, where `price` says what an
    hour costs (of a GPU, where there was one); `score at equal <axis>`: the smoothed score at the
    largest budget that every run of the cell reached, which `unit` tells; `<axis> to threshold`:
    the median (Kaplan and Meier 1958) of what it takes to smoothed scores of `threshold` times the
    best possible one, NaN where fewer than half of the runs got there; `score per hour`, which
    flatters what stops early and decides nothing.

    Raises:
        InputError: unknown score or stage, a threshold that is not positive, a negative price.
    """
    if not threshold > 0:
        raise InputError(f"threshold must be above 0, got {threshold}")
    if price is not None and price < 0:
        raise InputError(f"price must not be negative, got {price}")
    check_window(window)
    rows = points(frames, score)
    if len(frames.trials):
        check("stage", stage, {*frames.trials["stage"], "confirm"})
    rows = rows[(rows["stage"] == stage) & rows["status"].isin(DONE)]
    rows = labels(frames, rows)
    found: list[dict[str, Any]] = []
    for (task, cell), group in in_cells(rows):
        runs = [_Run(trial, window) for _, trial in group.groupby("trial_id", sort=True)]
        for label in sorted({run.label for run in runs}):
            ours = [run for run in runs if run.label == label]
            wanted = threshold * known_scale(task, scale, score)
            for quantity, unit, estimate in _quantities(ours, runs, wanted, frames, price):
                about = {"task": task, "cell": cell, "label": label}
                told = {"quantity": quantity, "unit": unit} | dataclasses.asdict(estimate)
                found.append(about | told)
    return pd.DataFrame(found, columns=_COLUMNS)


class _Run:
    """The smoothed curve of one trial on one task."""

    def __init__(self, rows: pd.DataFrame, window: int) -> None:
        self.trial_id = str(rows["trial_id"].iloc[0])
        self.label = str(rows["label"].iloc[0])
        self.smooth = smoothed(rows["value"].to_numpy(float), window)
        self.spent = {
            axis: rows[column].to_numpy(float) / size for axis, (column, _, size) in BUDGETS.items()
        }

    def at(self, axis: str, budget: float) -> float:
        """The smoothed score at the last evaluation up to a budget; NaN before the first."""
        last = int(np.searchsorted(self.spent[axis], budget, side="right")) - 1
        return float(self.smooth[last]) if last >= 0 else math.nan

    def to(self, axis: str, wanted: float) -> tuple[float, bool]:
        """What was spent when the score got there, or until the end if it did not."""
        got = np.flatnonzero(self.smooth >= wanted)
        return float(self.spent[axis][got[0] if len(got) else -1]), bool(len(got))


def _quantities(
    ours: list[_Run],
    everyone: list[_Run],
    wanted: float,
    frames: Frames,
    price: float | None,
) -> Iterator[tuple[str, str, Estimate]]:
    axes = [axis for axis in BUDGETS if any(run.spent[axis][-1] > 0 for run in everyone)]
    for axis in axes:
        yield axis, BUDGETS[axis][1], _mean(run.spent[axis][-1] for run in ours)
    hours = "gpu_hours" if "gpu_hours" in axes else "wall_hours"
    if price is not None and hours in axes:
        yield "price", "", _mean(price * run.spent[hours][-1] for run in ours)
    about = frames.trials.set_index("trial_id").loc[[run.trial_id for run in ours]]
    for name in ("nfe", "parameters"):
        known = about[name].dropna().to_numpy(float)
        if len(known):
            yield name, "", Estimate(float(known.mean()), math.nan, math.nan, len(known), "counted")
    if "env_steps" in axes:
        axes.remove("epochs")  # as budgets they say the same
    for axis in axes:
        budget = min(run.spent[axis][-1] for run in everyone)
        unit = f"at {number(budget)} {BUDGETS[axis][1]}"
        yield f"score at equal {axis}", unit, _mean(run.at(axis, budget) for run in ours)
    for axis in axes:
        spent = [run.to(axis, wanted) for run in ours]
        yield f"{axis} to threshold", f"{BUDGETS[axis][1]} to {number(wanted)}", median_until(spent)
    if hours in axes:
        yield "score per hour", "1/h", _mean(run.smooth[-1] / run.spent[hours][-1] for run in ours)


def median_until(spent: list[tuple[float, bool]]) -> Estimate:
    """The Kaplan-Meier median of times [(until, whether it happened)], with its 95 % interval.

    NaN where it lies beyond what was seen; `hi` too, where only that does.
    """
    n, got = len(spent), sum(happened for _, happened in spent)
    method = f"Kaplan-Meier median, reached by {got} of {n}"
    if not got:
        return Estimate(math.nan, math.nan, math.nan, n, method)
    times = distributions.CensoredData(
        uncensored=[t for t, happened in spent if happened],
        right=[t for t, happened in spent if not happened],
    )
    survival = distributions.ecdf(times).sf
    est = _first_below(survival.quantiles, survival.probabilities)
    if n < stats.MIN_SEEDS_INTERVAL:
        return Estimate(est, math.nan, math.nan, n, method)
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined after the last of all
        bounds = survival.confidence_interval(method="log-log")
    lo = _first_below(survival.quantiles, bounds.low.probabilities)
    hi = _first_below(survival.quantiles, bounds.high.probabilities)
    return Estimate(est, lo, hi, n, method)


def _first_below(times: np.ndarray, survival: np.ndarray) -> float:
    below = np.flatnonzero(survival <= 0.5)  # where it is not defined, it is not
    return float(times[below[0]]) if len(below) else math.nan


def _mean(values: Any) -> Estimate:
    return stats.mean_interval([float(value) for value in values])
