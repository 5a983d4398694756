"""Means over few noisy seeds, drawn towards the mean of all: what a choice is made by."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def shrunk(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Empirical-Bayes means: mu + t2 / (t2 + s2 / n) * (mean - mu) for each configuration.

    s2 is the seed variance pooled over configurations with at least two seeds, t2 the variance
    between configurations. Without a replicated configuration there is no s2 and the plain means
    come back; with equal n the order is that of the means.
    """
    means = {key: statistics.fmean(values) for key, values in scores.items()}
    replicated = [values for values in scores.values() if len(values) > 1]
    if not replicated or len(means) < 2:
        return means
    freedom = sum(len(values) - 1 for values in replicated)
    squares = sum((x - statistics.fmean(values)) ** 2 for values in replicated for x in values)
    seed_variance = squares / freedom
    centre = statistics.fmean(means.values())
    noise = statistics.fmean(seed_variance / len(values) for values in scores.values())
    between = max(statistics.variance(means.values()) - noise, 0.0)
    if between + seed_variance == 0:
        return means

    def shrink(key: str) -> float:
        weight = between / (between + seed_variance / len(scores[key]))
        return centre + weight * (means[key] - centre)

    return {key: shrink(key) for key in scores}
