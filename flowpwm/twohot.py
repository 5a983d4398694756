"""Rewards as two-hot distributions over symlog space (DreamerV3, Hafner et al. 2023, §3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowpwm.precision import exact, full

LOW, HIGH = -10.0, 10.0


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): nearly the identity around 0, logarithmic far from it."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


def bin_centres(logits: Float[Tensor, "*batch bins"]) -> Float[Tensor, " bins"]:
    """Evenly spaced centres in symlog units, both ends included, for logits like these."""
    return torch.linspace(LOW, HIGH, logits.shape[-1], dtype=logits.dtype, device=logits.device)


def encode(x: Float[Tensor, "*batch"], num_bins: int) -> Float[Tensor, "*batch bins"]:
    """Spread symlog(x) over its two neighbouring bins in proportion; clamped at both ends."""
    position = (symlog(x).clamp(LOW, HIGH) - LOW) * ((num_bins - 1) / (HIGH - LOW))
    # The last bin has no right neighbour: its whole weight goes to the right end of the last pair.
    # A NaN has some bin as well, and stays in the weights: the loss shows it.
    index = position.long().clamp(0, num_bins - 2).unsqueeze(-1)
    weight = position.unsqueeze(-1) - index
    target = torch.zeros(*x.shape, num_bins, dtype=x.dtype, device=x.device)
    return target.scatter(-1, index, 1 - weight).scatter(-1, index + 1, weight)


def decode_symlog(logits: Float[Tensor, "*batch bins"]) -> Float[Tensor, "*batch"]:
    """The expectation in symlog units: softmax times bin centres."""
    logits = full(logits)
    with exact(logits):  # bin centres in bf16 would be off by up to 0.03
        return torch.softmax(logits, dim=-1) @ bin_centres(logits)


def decode(logits: Float[Tensor, "*batch bins"]) -> Float[Tensor, "*batch"]:
    """The expectation in raw reward units."""
    return symexp(decode_symlog(logits))


def cross_entropy(
    logits: Float[Tensor, "*batch bins"], x: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Soft cross-entropy between the two-hot code of `x` and the predicted distribution."""
    target = encode(x, logits.shape[-1])
    return -(target * nn.functional.log_softmax(full(logits), dim=-1)).sum(-1)
