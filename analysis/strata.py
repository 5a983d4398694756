"""Scores of one arm over tasks and seeds, and statistics of them with an interval.

Runs of a task are a stratum of independent seeds. A run on several tasks is drawn with all of its
scores, since they share its luck. The bootstrap is the scaled stratified one: draws are stretched
about their task's mean by sqrt(n / (n - 1)), without which intervals over few seeds cover too
little (benchmarks/intervals.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize
from scipy import stats as distributions

from analysis import stats
from analysis.stats import Array, Estimate

REPS = stats.REPS
#: Numbers that are drawn at a time: 64 MiB of them.
CHUNK = 1 << 23


@dataclass(frozen=True)
class Strata:
    """The scores of an arm: a matrix [seeds, tasks] for each kind of run."""

    matrices: tuple[Array, ...]

    @property
    def n(self) -> int:
        """Seeds of the stratum that has the fewest."""
        return min((len(matrix) for matrix in self.matrices), default=0)

    @property
    def tasks(self) -> int:
        """Tasks, each counted once for each kind of run."""
        return sum(matrix.shape[1] for matrix in self.matrices)

    @property
    def runs(self) -> int:
        """Scores: one for each run and task."""
        return sum(matrix.size for matrix in self.matrices)

    def weights(self) -> list[Array]:
        """What every score weighs where tasks weigh the same; they add up to 1."""
        return [np.full(m.shape, 1 / (self.tasks * len(m))) for m in self.matrices]


def strata_of(rows: pd.DataFrame, value: str) -> Strata:
    """The strata of rows with run_task, task and seed: a run counts if it has a score on each of
    its tasks."""
    matrices = [
        group.pivot_table(index="seed", columns="task", values=value).dropna().to_numpy(float)
        for _, group in rows.groupby("run_task", sort=True)
    ]
    return Strata(tuple(matrix for matrix in matrices if len(matrix)))


Statistic = Callable[[Sequence[Array]], Array]


def _all(matrices: Sequence[Array]) -> Array:
    """Every score in one axis: [..., scores]."""
    return np.concatenate([m.reshape(*m.shape[:-2], -1) for m in matrices], axis=-1)


def _task_means(matrices: Sequence[Array]) -> Array:
    """Mean over the seeds of every task: [..., tasks]."""
    return np.concatenate([m.mean(axis=-2) for m in matrices], axis=-1)


#: Of matrices [..., seeds, tasks]: [...]. IQM is over runs, all others weigh tasks the same
#: (Agarwal et al. 2021, arXiv:2108.13264, section 4.3).
STATISTICS: Mapping[str, Statistic] = {
    "iqm": lambda m: np.asarray(stats.iqm(_all(m))),
    "mean": lambda m: _task_means(m).mean(axis=-1),
    "median": lambda m: np.median(_task_means(m), axis=-1),
    "optimality_gap": lambda m: 1 - _task_means([np.minimum(x, 1.0) for x in m]).mean(axis=-1),
}


def estimate(strata: Strata, statistic: str, *, reps: int = REPS, seed: int = 0) -> Estimate:
    """A statistic of STATISTICS with its 95 % interval; without one below 3 seeds a task.

    The mean has Welch and Satterthwaite's t over tasks, all others the scaled stratified bootstrap.
    """
    if not strata.n:
        return Estimate(math.nan, math.nan, math.nan, 0, stats.no_interval(0))
    est = float(STATISTICS[statistic](strata.matrices))
    if strata.n < stats.MIN_SEEDS_INTERVAL:
        return Estimate(est, math.nan, math.nan, strata.n, stats.no_interval(strata.n))
    if statistic == "mean":
        half = _half_width_of_mean(strata)
        return Estimate(est, est - half, est + half, strata.n, "mean over tasks, t")
    draws = bootstrap(strata, STATISTICS[statistic], reps=reps, seed=seed)
    return _between(est, draws, strata.n, "scaled stratified bootstrap")


def bootstrap(strata: Strata, statistic: Statistic, *, reps: int, seed: int) -> Array:
    """The statistic of `reps` scaled stratified resamples: [reps]."""
    rng = np.random.default_rng(seed)
    size = max(1, CHUNK // strata.runs)
    starts = range(0, reps, size)
    found = [statistic(_drawn(strata, min(size, reps - start), rng)) for start in starts]
    return np.concatenate(found)


def _drawn(strata: Strata, reps: int, rng: np.random.Generator) -> list[Array]:
    """Resamples [reps, seeds, tasks] of every stratum."""
    drawn = []
    for matrix in strata.matrices:
        n, mean = len(matrix), matrix.mean(axis=0)
        picked = matrix[rng.integers(0, n, (reps, n))]
        picked -= mean
        picked *= math.sqrt(n / (n - 1))
        picked += mean
        drawn.append(picked)
    return drawn


def _half_width_of_mean(strata: Strata) -> float:
    """Of the t interval of the mean: variances of the strata added up, Satterthwaite's freedom."""
    parts = []
    for matrix in strata.matrices:
        n, share = len(matrix), matrix.shape[1] / strata.tasks
        parts.append((share**2 * matrix.mean(axis=1).var(ddof=1) / n, n - 1))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    if spread == 0:
        return 0.0
    return float(distributions.t.ppf(0.975, variance**2 / spread)) * math.sqrt(variance)


def profile(
    strata: Strata, taus: Array, *, reps: int = REPS, seed: int = 0
) -> tuple[Array, Array, Array]:
    """The share of runs above every `tau` [K] with a pointwise interval: est, lo, hi [K].

    Tasks weigh the same. The interval is NaN below 3 seeds a task.
    """
    above = [(m[..., None] > taus).mean(axis=1) for m in strata.matrices]  # [seeds, K]
    shares = [m.shape[1] / strata.tasks for m in strata.matrices]
    est = sum(s * a.mean(axis=0) for s, a in zip(shares, above, strict=True))
    assert isinstance(est, np.ndarray)
    if strata.n < stats.MIN_SEEDS_INTERVAL:
        return est, np.full(len(taus), math.nan), np.full(len(taus), math.nan)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((reps, len(taus)))
    for share, rows in zip(shares, above, strict=True):
        drawn += share * counts(len(rows), reps, rng) @ rows / len(rows)
    lo, hi = np.quantile(drawn, [0.025, 0.975], axis=0)
    return est, lo, hi


def improvement(x: Strata, y: Strata) -> Estimate:
    """The chance that a run of `x` scores above one of `y` on the same task, a tie counting half,
    as a mean over tasks. Its interval has a width also where every run of one is above.

    Raises:
        ValueError: they are not of the same tasks.
    """
    if [m.shape[1] for m in x.matrices] != [m.shape[1] for m in y.matrices]:
        raise ValueError("the chance of improvement is over the same tasks of both arms")
    n = min(x.n, y.n)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0, stats.no_interval(0))
    # [seeds of x, seeds of y]: the share of tasks on which one run beats the other.
    wins = [
        ((a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])).mean(axis=2)
        for a, b in zip(x.matrices, y.matrices, strict=True)
    ]
    shares = [m.shape[1] / x.tasks for m in x.matrices]
    est = float(sum(s * w.mean() for s, w in zip(shares, wins, strict=True)))
    if n < stats.MIN_SEEDS_INTERVAL:
        return Estimate(est, math.nan, math.nan, n, stats.no_interval(n))
    parts = [(share, *won.shape) for share, won in zip(shares, wins, strict=True)]

    def spread(theta: float) -> float:
        return math.sqrt(sum(s**2 * _variance_of_wins(theta, a, b) for s, a, b in parts))

    lo, hi = _score_limits(est, spread)
    return Estimate(est, lo, hi, n, "Mann-Whitney, score")


def _variance_of_wins(theta: float, m: int, n: int) -> float:
    """Of the share of wins among m x n pairs, where its truth is `theta` (Newcombe 2006,
    doi:10.1002/sim.2324, method 5)."""
    pairs = (m + n) / 2 - 1
    both = (1 - theta) / (2 - theta) + theta / (1 + theta)
    return theta * (1 - theta) * (1 + pairs * both) / (m * n)


def _score_limits(est: float, spread: Callable[[float], float]) -> tuple[float, float]:
    """Where a share is so far from `est` as 1.96 of its own spread."""
    z = float(distributions.norm.ppf(0.975))
    limits = []
    for end in (0.0, 1.0):
        found = end
        if est != end:
            # At 0 and 1 themselves there is no spread, beside them there is.
            near = min(max(est, 1e-9), 1 - 1e-9)
            bracket = (end, near)
            found = optimize.root_scalar(
                lambda t: abs(t - est) - z * spread(t), bracket=bracket
            ).root
        limits.append(float(found))
    return limits[0], limits[1]


def counts(n: int, reps: int, rng: np.random.Generator) -> Array:
    """How often each of `n` runs is in every resample: [reps, n], rows add up to n."""
    return rng.multinomial(n, np.full(n, 1 / n), size=reps).astype(float)


def _between(est: float, draws: Array, n: int, method: str) -> Estimate:
    lo, hi = np.quantile(draws, [0.025, 0.975])
    return Estimate(est, float(lo), float(hi), n, method)
