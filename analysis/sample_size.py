"""How many seeds show a difference, and how large a difference so many seeds show."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import optimize, stats

from analysis.stats import MIN_SEEDS_INTERVAL, half_width
from sweeps.core.reference import welch


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


def detectable(
    sd: float, n: int, *, paired: bool, target: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest true difference that n seeds (an arm) find that often."""

    def short(effect: float) -> float:
        return power(effect, sd, n, paired=paired, alpha=alpha) - target

    high = sd
    while short(high) < 0:
        high *= 2
    return float(optimize.root_scalar(short, bracket=(0.0, high)).root)


def seeds_to_decide(
    est: float, sd: float, margin: float, n: int, *, paired: bool, alpha: float = 0.05
) -> int:
    """The fewest seeds (an arm) at which the verdict falls if estimate and spread stay so."""
    if sd <= 0:
        return n + 1

    def decided(m: int) -> bool:
        df = m - 1 if paired else 2 * (m - 1)
        se = sd * math.sqrt((1 if paired else 2) / m)
        differs = half_width(se, df, 1 - alpha) < abs(est)
        return differs or abs(est) + half_width(se, df, 0.90) < margin

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
