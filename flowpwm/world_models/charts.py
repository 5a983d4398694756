"""The simplices that latents live on: coordinates for an ODE on them, and ways back onto them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from flowpwm.networks import SIMNORM_GROUP, group_softmax


def _groups(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, SIMNORM_GROUP))


def to_tangent(v: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """The part of `v` along the simplices: every group sums to 0, as z1 - z0 does."""
    groups = _groups(v)
    return (groups - groups.mean(-1, keepdim=True)).flatten(-2)


def to_simplex(z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """The nearest point (Euclidean) of every group's simplex.

    Duchi et al. 2008, "Efficient projections onto the l1-ball", figure 1.
    """
    groups = _groups(z)
    descending = groups.sort(dim=-1, descending=True).values
    count = torch.arange(1, SIMNORM_GROUP + 1, device=z.device, dtype=z.dtype)
    excess = (descending.cumsum(-1) - 1) / count
    # At least the largest; NaN compares as False and has to get as far as a loss, which names it.
    support = (descending > excess).sum(-1, keepdim=True).clamp_min(1)
    return torch.relu(groups - excess.gather(-1, support - 1)).flatten(-2)


def rescale(z: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Negative entries cut to 0, then every group divided by its sum.

    A cheaper way back to the simplex than the projection. Never 0/0 where groups sum to 1, which
    a velocity along the simplices keeps.
    """
    groups = torch.relu(_groups(z))
    return (groups / groups.sum(-1, keepdim=True).clamp_min(1e-6)).flatten(-2)


RETRACTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "simplex": to_simplex,
    "rescale": rescale,
    "none": lambda z: z,
}


class Chart(NamedTuple):
    """Coordinates in which the ODE runs: a latent in, back out of its end, and how errors count.

    `push` carries a velocity in coordinates, at a point of them, to the latent's own units. `leave`
    is None where the configured retraction leads back.
    """

    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor], Tensor] | None
    push: Callable[[Tensor, Tensor], Tensor]


def _push_softmax(y: Tensor, v: Tensor) -> Tensor:
    # The derivative of the softmax at y along v.
    z, v = _groups(group_softmax(y)), _groups(v)
    return (z * (v - (z * v).sum(-1, keepdim=True))).flatten(-2)


CHARTS: dict[str, Chart] = {
    "simplex": Chart(lambda z: z, None, lambda y, v: v),
    # Ends in a softmax: nothing to project or retract, and no entry ever reaches 0.
    "logits": Chart(lambda z: to_tangent(z.clamp_min(1e-4).log()), group_softmax, _push_softmax),
}
