"""How large a difference has to be to matter: the margin that every verdict is given with."""

from __future__ import annotations

# Where a task's best return is not 1,000; ant has none, PWM reached 9,549 on the one it rebuilds.
MAX_RETURNS = {"point-mass": 64.0, "ant": 10_000.0}
DEFAULT_MAX_RETURN = 1000.0
MEAN_MARGIN = 0.05
SCALE_MARGIN = 0.01


def max_return(task: str) -> float:
    """What a perfect policy can reach on `task`: the unit of margins and floors."""
    return MAX_RETURNS.get(task, DEFAULT_MAX_RETURN)


def margin_of(mean: float, scale: float, share: float = MEAN_MARGIN) -> float:
    """Differences below this do not matter beside a baseline's `mean` on a task of this `scale`."""
    return max(share * abs(mean), SCALE_MARGIN * scale)
