"""How far equal runs on different seeds lie apart, where somebody has measured it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache

from sweeps.core.reference.table import rows


@dataclass(frozen=True)
class MeasuredNoise:
    """Mean and standard deviation over `n` seeds of runs of one kind.

    `budget` is in environment steps, offline in epochs.
    """

    task: str
    mode: str
    world_model: str
    policy: str
    budget: int
    n: int
    mean: float
    sd: float
    source: str


def measured_noise(
    task: str, mode: str, budget: int, kinds: Collection[tuple[str, str]]
) -> list[MeasuredNoise]:
    """What was measured on a task for these kinds of (world model, policy), or for others.

    Of several budgets those of the nearest.
    """
    found = [row for row in _measured() if (row.task, row.mode) == (task, mode)]
    found = [row for row in found if (row.world_model, row.policy) in kinds] or found
    nearest = min((abs(row.budget - budget) for row in found), default=0)
    return [row for row in found if abs(row.budget - budget) == nearest]


def pooled(groups: Iterable[tuple[float, int]]) -> float:
    """The standard deviation behind several of `(sd, n)`, each about a mean of its own.

    NaN where no group has two values.
    """
    known = [(sd, n - 1) for sd, n in groups if n > 1]
    degrees = sum(df for _, df in known)
    return math.sqrt(sum(df * sd**2 for sd, df in known) / degrees) if degrees else math.nan


@cache
def _measured() -> tuple[MeasuredNoise, ...]:
    return tuple(
        MeasuredNoise(
            row["task"],
            row["mode"],
            row["world_model"],
            row["policy"],
            int(row["budget"]),
            int(row["n"]),
            float(row["mean"]),
            float(row["sd"]),
            row["source"],
        )
        for row in rows("seed_noise.csv")
    )
