"""Published returns: what a baseline that works should reach. Needs the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sweeps.core.reference.margins import margin_of, max_return
from sweeps.core.reference.table import rows

#: Budgets compare that differ by no more than this factor.
COMPARABLE = 2.0


@dataclass(frozen=True)
class PublishedRange:
    """The lowest and highest mean return that was published for a task.

    `env_steps` is None where they are not told (offline).
    """

    task: str
    setting: str  # "online" | "offline"
    env_steps: int | None
    low: float
    high: float

    def outside(self, mean: float) -> bool:
        """Whether a mean return lies outside by more than the margin."""
        below = self.low - mean > margin_of(self.low, max_return(self.task))
        return below or mean - self.high > margin_of(self.high, max_return(self.task))

    def doubt(self, mean: float) -> str:
        """What a mean return outside of the range makes one ask."""
        if mean < self.low:
            return "what beats it may beat a weak baseline"
        return "are its returns counted as others count them?"

    def __str__(self) -> str:
        where = "offline" if self.env_steps is None else f"at {self.env_steps:,} env steps"
        return f"{self.low:.4g} to {self.high:.4g} {where}"


def published_range(task: str, *, online: bool, env_steps: int = 0) -> PublishedRange | None:
    """What was published for a task at about as many environment steps, or None.

    Of several the nearest; offline `env_steps` says nothing.
    """
    setting = "online" if online else "offline"
    found = [row for row in _ranges() if (row.task, row.setting) == (task, setting)]
    near = [row for row in found if comparable(row.env_steps or env_steps, env_steps)]
    return min(near, key=lambda row: abs((row.env_steps or 0) - env_steps), default=None)


def comparable(budget: float, other: float) -> bool:
    """Whether two budgets are alike enough to compare what came out."""
    return other <= COMPARABLE * budget and budget <= COMPARABLE * other


@cache
def _ranges() -> tuple[PublishedRange, ...]:
    return tuple(
        PublishedRange(
            row["task"],
            row["setting"],
            int(row["env_steps"]) if row["env_steps"] else None,
            float(row["low"]),
            float(row["high"]),
        )
        for row in rows("published.csv")
    )
