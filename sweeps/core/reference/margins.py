"""How large a difference has to be to matter: the margin that every verdict is given with."""

from __future__ import annotations

from sweeps.core.reference.scales import scales

DEFAULT_MAX_RETURN = 1000.0
MEAN_MARGIN = 0.05
SCALE_MARGIN = 0.01


def max_return(task: str) -> float:
    """What a perfect policy can reach on `task`: the unit of margins and floors."""
    scale = scales().get(task)
    return DEFAULT_MAX_RETURN if scale is None else scale.one


def margin_of(mean: float, scale: float, share: float = MEAN_MARGIN) -> float:
    """Differences below this do not matter beside a baseline's `mean` on a task of this `scale`."""
    return max(share * abs(mean), SCALE_MARGIN * scale)
