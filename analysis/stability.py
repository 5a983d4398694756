"""How much of what a run had reached it kept to its end."""

from __future__ import annotations

import math

import numpy as np

#: A run that ends below this share of its peak has collapsed,
COLLAPSE = 0.5
#: unless the peak itself was less than this share of the best possible score: that is noise.
NOTHING = 0.05
COLUMNS = ("peak", "final_peak", "drawdown", "collapsed", "collapsed_at")


def stability(
    smooth: np.ndarray, progress: np.ndarray, *, final: float, window: int, scale: float
) -> dict[str, object]:
    """Of a smoothed curve [T] over `progress` [T]: peak (biased: a maximum), final_peak (final /
    peak), drawdown (the largest fall below the peak so far, as a share of that), collapsed, and
    collapsed_at (the progress from which on it stayed below half of its peak; NaN if it did not).

    Ratios are NaN where the peak is not above 0.
    """
    # A maximum over fewer than `window` evaluations would be less smooth than the final score.
    skipped = min(window, len(smooth)) - 1
    whole, at = smooth[skipped:], progress[skipped:]
    peak = float(np.nanmax(whole)) if np.isfinite(whole).any() else math.nan
    ratio = final / peak if peak > 0 else math.nan
    collapsed = bool(peak > NOTHING * scale and ratio < COLLAPSE)
    since = math.nan
    if collapsed:
        held = np.flatnonzero(~(whole < COLLAPSE * peak))
        since = float(at[min(held[-1] + 1, len(at) - 1)])
    found = (peak, ratio, _drawdown(whole), collapsed, since)
    return dict(zip(COLUMNS, found, strict=True))


def _drawdown(curve: np.ndarray) -> float:
    top = np.fmax.accumulate(curve)
    with np.errstate(divide="ignore", invalid="ignore"):
        falls = np.where(top > 0, (top - curve) / top, math.nan)
    return float(np.nanmax(falls)) if np.isfinite(falls).any() else math.nan
