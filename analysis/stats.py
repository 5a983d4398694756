"""Estimates with intervals over seeds. Pure functions of arrays; `[N]` is one score a seed.

The interval of a mean is Student's t: measured on learning-curve data its coverage at 3-10 seeds is
closest to nominal, where a percentile bootstrap covers far too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweeps.core.reference import welch

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
    half = _half_width(values.std(ddof=1) / math.sqrt(n), n - 1, level)
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


def power(effect: float, sd: float, n: int, *, paired: bool, alpha: float = 0.05) -> float:
    """Chance that a two-sided t test with n seeds (an arm) finds a true difference `effect`.

    The paired test, or Welch's where arms have their own seeds.
    """
    if sd <= 0:
        return 1.0 if effect else alpha
    if not paired:
        return welch.power(abs(effect) / sd, n, alpha)
    cut, shift = stats.t.ppf(1 - alpha / 2, n - 1), abs(effect) / sd * math.sqrt(n)
    return float(stats.nct.sf(cut, n - 1, shift) + stats.nct.cdf(-cut, n - 1, shift))


def seeds_for_power(
    effect: float, sd: float, *, paired: bool, target: float = 0.8, alpha: float = 0.05
) -> int:
    """The fewest seeds (an arm; at least 3) that find a true difference `effect` that often.

    Raises:
        ValueError: effect is not positive and finite, or sd is not finite.
    """
    if not (math.isfinite(effect) and effect > 0 and math.isfinite(sd)):
        raise ValueError(f"effect must be positive and sd finite, got {effect} and {sd}")
    # Far from the boundary the normal approximation is exact enough, and nct loses digits there.
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(target)
    rough = (z * sd / effect) ** 2 * (1 if paired else 2)
    if rough > 2000:
        return math.ceil(rough)
    return _first(
        lambda n: power(effect, sd, n, paired=paired, alpha=alpha) >= target, MIN_SEEDS_INTERVAL
    )


def seeds_to_decide(
    est: float, sd: float, margin: float, n: int, *, paired: bool, alpha: float = 0.05
) -> int:
    """The fewest seeds (an arm) at which the verdict falls if estimate and spread stay so."""
    if sd <= 0:
        return n + 1

    def decided(m: int) -> bool:
        df = m - 1 if paired else 2 * (m - 1)
        se = sd * math.sqrt((1 if paired else 2) / m)
        differs = _half_width(se, df, 1 - alpha) < abs(est)
        return differs or abs(est) + _half_width(se, df, 0.90) < margin

    return _first(decided, max(n + 1, MIN_SEEDS_INTERVAL))


def _first(holds: Callable[[int], bool], start: int, limit: int = 1 << 20) -> int:
    """The least n >= start at which a monotone condition holds; `limit` if it never does."""
    low, high = start - 1, start
    while not holds(high):
        if high >= limit:
            return limit
        low, high = high, min(limit, 2 * high)
    while high - low > 1:
        mid = (low + high) // 2
        low, high = (low, mid) if holds(mid) else (mid, high)
    return high


def correlation(x: Sequence[float] | Array, y: Sequence[float] | Array) -> float:
    """Pearson's r of pairs `[N]`; NaN below 3 pairs or where one side is constant."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < MIN_SEEDS_INTERVAL or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _half_width(se: float, df: float, level: float) -> float:
    return float(stats.t.ppf(0.5 + level / 2, df)) * se


def _difference(est: float, se: float, df: float, n: int, method: str, sd: float) -> Difference:
    half, half90 = _half_width(se, df, LEVEL), _half_width(se, df, 0.90)
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
