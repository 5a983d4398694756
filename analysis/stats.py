"""Estimates with intervals over seeds. Pure functions of arrays; `[N]` is one score a seed.

The interval of a mean is Student's t: measured on learning-curve data its coverage at 3-10 seeds is
closest to nominal, where a percentile bootstrap covers far too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
MIN_SEEDS_INTERVAL = 3
MIN_SEEDS_BOOTSTRAP = 10
REPS = 10_000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; `lo` and `hi` are NaN where `n` is too small for one."""

    est: float
    lo: float
    hi: float
    n: int
    method: str


@dataclass(frozen=True)
class Difference(Estimate):
    """candidate - baseline. `sd` is that of the pairs, or pooled over the arms (unpaired)."""

    p_value: float
    sd: float
    lo90: float
    hi90: float


def no_interval(n: int) -> str:
    """What is printed instead of a method where there are too few seeds for an interval."""
    return "no data" if n == 0 else f"n={n}: no uncertainty"


def iqm(x: ArrayLike, axis: int = -1) -> Array | float:
    """Interquartile mean: the mean after cutting a quarter (rounded down) at each end.

    Raises:
        ValueError: nothing to average.
    """
    values = np.sort(np.asarray(x, float), axis=axis)
    n = values.shape[axis]
    if n == 0:
        raise ValueError("iqm needs at least one value, got none")
    cut = n // 4
    mean = np.take(values, np.arange(cut, n - cut), axis=axis).mean(axis=axis)
    return float(mean) if mean.ndim == 0 else mean


def mean_interval(x: ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of `x [N]` with its t interval; below 3 values there is no interval."""
    values = np.asarray(x, float)
    n = len(values)
    mean = float(values.mean()) if n else math.nan
    if n < MIN_SEEDS_INTERVAL:
        return Estimate(mean, math.nan, math.nan, n, no_interval(n))
    half = half_width(values.std(ddof=1) / math.sqrt(n), n - 1, level)
    return Estimate(mean, mean - half, mean + half, n, "mean, t")


def bootstrap_iqm(x: ArrayLike, *, reps: int = REPS, seed: int = 0) -> Estimate:
    """IQM of `x [N]` with a 95 % percentile bootstrap widened for small N."""
    values = np.asarray(x, float)
    draws = iqm(_resample(values, reps, np.random.default_rng(seed)))
    lo, hi = np.quantile(draws, [0.025, 0.975])
    return Estimate(float(iqm(values)), float(lo), float(hi), len(values), "IQM, bootstrap")


def paired_difference(candidate: ArrayLike, baseline: ArrayLike) -> Difference:
    """Mean of candidate - baseline over pairs `[N]`: t on the differences.

    Raises:
        ValueError: the arrays differ in length.
    """
    c, b = np.asarray(candidate, float), np.asarray(baseline, float)
    if len(c) != len(b):
        raise ValueError(f"pairs need equal lengths, got {len(c)} and {len(b)}")
    n = len(c)
    d = c - b
    est = float(d.mean()) if n else math.nan
    if n < MIN_SEEDS_INTERVAL:
        return _without_interval(est, n)
    sd = float(d.std(ddof=1))
    return _difference(est, sd / math.sqrt(n), n - 1, n, "paired t", sd)


def welch_difference(candidate: ArrayLike, baseline: ArrayLike) -> Difference:
    """Difference of two means over independent seeds, unequal variances (Welch-Satterthwaite).

    `n` is the smaller of the two numbers of seeds.
    """
    c, b = np.asarray(candidate, float), np.asarray(baseline, float)
    n = min(len(c), len(b))
    est = float(c.mean() - b.mean()) if n else math.nan
    if n < MIN_SEEDS_INTERVAL:
        return _without_interval(est, n)
    vc, vb = c.var(ddof=1) / len(c), b.var(ddof=1) / len(b)
    sd = math.sqrt((c.var(ddof=1) + b.var(ddof=1)) / 2)
    spread = vc**2 / (len(c) - 1) + vb**2 / (len(b) - 1)
    df = (vc + vb) ** 2 / spread if spread > 0 else len(c) + len(b) - 2
    return _difference(est, math.sqrt(vc + vb), df, n, "Welch t", sd)


def stratified_difference(
    strata: Sequence[tuple[ArrayLike, ArrayLike]], weights: ArrayLike, *, paired: bool
) -> Difference:
    """Weighted mean over strata of candidate - baseline; each stratum is (candidate, baseline).

    Strata are independent: sum of w_s^2 times the variance of each difference, with the degrees of
    freedom of Welch and Satterthwaite. `n` is the smallest number of seeds of any arm in any
    stratum, `sd` that of equally large arms with this variance.

    Raises:
        ValueError: no strata, weights that do not add up to 1, or pairs of unequal length.
    """
    w = np.asarray(weights, float)
    if not len(strata) or len(w) != len(strata) or not math.isclose(w.sum(), 1.0):
        raise ValueError(f"{len(strata)} strata need as many weights with sum 1, got {list(w)}")
    arms = [(np.asarray(c, float), np.asarray(b, float)) for c, b in strata]
    n = min(min(len(c), len(b)) for c, b in arms)
    if not n:
        return _without_interval(math.nan, 0)
    est = float(sum(x * (c.mean() - b.mean()) for x, (c, b) in zip(w, arms, strict=True)))
    if n < MIN_SEEDS_INTERVAL:
        return _without_interval(est, n)
    parts: list[tuple[float, int]] = []  # variance and degrees of freedom of every mean
    for x, (c, b) in zip(w, arms, strict=True):
        if paired and len(c) != len(b):
            raise ValueError(f"pairs need equal lengths, got {len(c)} and {len(b)}")
        for values in [c - b] if paired else [c, b]:
            parts.append((x**2 * values.var(ddof=1) / len(values), len(values) - 1))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / df for part, df in parts)
    df = variance**2 / spread if spread > 0 else sum(df for _, df in parts)
    sd = math.sqrt(variance * n / (1 if paired else 2))
    method = f"mean over tasks, {'paired' if paired else 'Welch'} t"
    return _difference(est, math.sqrt(variance), df, n, method, sd)


def bootstrap_iqm_difference(
    candidate: ArrayLike, baseline: ArrayLike, *, paired: bool, reps: int = REPS, seed: int = 0
) -> Estimate:
    """Difference in IQM (paired: IQM of the differences) with a 95 % widened bootstrap."""
    c, b = np.asarray(candidate, float), np.asarray(baseline, float)
    rng = np.random.default_rng(seed)
    if paired:
        est, draws = iqm(c - b), iqm(_resample(c - b, reps, rng))
    else:
        est = float(iqm(c)) - float(iqm(b))
        draws = np.asarray(iqm(_resample(c, reps, rng))) - iqm(_resample(b, reps, rng))
    lo, hi = np.quantile(draws, [0.025, 0.975])
    method = "IQM, paired bootstrap" if paired else "IQM, bootstrap"
    return Estimate(float(est), float(lo), float(hi), min(len(c), len(b)), method)


def wilson(k: int, n: int, level: float = LEVEL) -> Estimate:
    """The share k/n with Wilson's score interval.

    Raises:
        ValueError: k is not within 0..n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k must be within 0..{n}, got {k}")
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, no_interval(0))
    z = float(stats.norm.ppf(0.5 + level / 2))
    p = k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half), n, "share, Wilson")


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p values `[M]`; NaN (no test made) is left out of the family."""
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, math.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def correlation(x: Sequence[float] | Array, y: Sequence[float] | Array) -> float:
    """Pearson's r of pairs `[N]`; NaN below 3 pairs or where one side is constant."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < MIN_SEEDS_INTERVAL or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def half_width(se: float, df: float, level: float) -> float:
    """Of the t interval of a number with this standard error and degrees of freedom."""
    return float(stats.t.ppf(0.5 + level / 2, df)) * se


def _difference(est: float, se: float, df: float, n: int, method: str, sd: float) -> Difference:
    half, half90 = half_width(se, df, LEVEL), half_width(se, df, 0.90)
    p = 1.0 if est == 0 else 0.0
    if se > 0:
        p = float(2 * stats.t.sf(abs(est) / se, df))
    return Difference(est, est - half, est + half, n, method, p, sd, est - half90, est + half90)


def _without_interval(est: float, n: int) -> Difference:
    nan = math.nan
    return Difference(est, nan, nan, n, no_interval(n), nan, nan, nan, nan)


def _resample(values: Array, reps: int, rng: np.random.Generator) -> Array:
    """Bootstrap samples [reps, N], stretched by sqrt(N/(N-1)) so that their spread is unbiased."""
    n = len(values)
    if n < 2:
        raise ValueError(f"a bootstrap needs at least 2 values, got {n}")
    drawn = values[rng.integers(0, n, (reps, n))]
    return values.mean() + math.sqrt(n / (n - 1)) * (drawn - values.mean())
