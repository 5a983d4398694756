"""The blocks that every network of the project is made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SIMNORM_GROUP = 8
INIT_STD = 0.02


class NormedLinear(nn.Linear):
    """Linear, then LayerNorm, then an activation (Mish, or SimNorm on a last layer)."""

    def __init__(self, in_dim: int, out_dim: int, activation: nn.Module | None = None):
        super().__init__(in_dim, out_dim)
        self.ln = nn.LayerNorm(out_dim)
        self.activation = nn.Mish() if activation is None else activation

    def forward(self, input: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Activation of the normed product."""
        return self.activation(self.ln(super().forward(input)))


class SimNorm(nn.Module):
    """Softmax within groups: every group of `group` entries is a point of a simplex.

    Lavoie et al. 2022, "Simplicial embeddings"; used by TD-MPC2.
    """

    def __init__(self, group: int = SIMNORM_GROUP):
        super().__init__()
        self.group = group

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Softmax of every group."""
        return torch.softmax(x.unflatten(-1, (-1, self.group)), dim=-1).flatten(-2)


def mlp(
    in_dim: int,
    hidden: Sequence[int],
    out_dim: int,
    last: Literal["linear", "simnorm"] = "linear",
    zero_last: bool = False,
) -> nn.Sequential:
    """Normed hidden layers and a plain linear (optionally zero-initialised) or SimNorm last one.

    Weights are drawn from a truncated normal of standard deviation 0.02, biases are 0.
    """
    dims = [in_dim, *hidden]
    layers: list[nn.Module] = [NormedLinear(i, o) for i, o in pairwise(dims)]
    if last == "simnorm":
        layers.append(NormedLinear(dims[-1], out_dim, SimNorm()))
    else:
        layers.append(nn.Linear(dims[-1], out_dim))
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        nn.init.trunc_normal_(layer.weight, std=INIT_STD)
        nn.init.zeros_(layer.bias)
    if zero_last:
        assert isinstance(layers[-1], nn.Linear)
        nn.init.zeros_(layers[-1].weight)
    return nn.Sequential(*layers)


class EnsembleLinear(nn.Module):
    """`members` linear layers as one batched product, with LayerNorm and Mish unless `plain`."""

    def __init__(self, members: int, in_dim: int, out_dim: int, plain: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(members, 1, out_dim))
        nn.init.trunc_normal_(self.weight, std=INIT_STD)
        self.plain = plain
        if not plain:
            self.ln_weight = nn.Parameter(torch.ones(members, 1, out_dim))
            self.ln_bias = nn.Parameter(torch.zeros(members, 1, out_dim))

    def forward(self, x: Float[Tensor, "N B I"]) -> Float[Tensor, "N B O"]:
        """Member n maps x[n]."""
        x = torch.baddbmm(self.bias, x, self.weight)
        if self.plain:
            return x
        x = F.layer_norm(x, x.shape[-1:])
        return F.mish(torch.addcmul(self.ln_bias, x, self.ln_weight))


class Ensemble(nn.Module):
    """`members` MLPs with the same input, evaluated together: [B, I] -> [members, B, O]."""

    def __init__(self, members: int, in_dim: int, hidden: Sequence[int], out_dim: int):
        super().__init__()
        dims = [in_dim, *hidden]
        self.members = members
        self.layers = nn.Sequential(
            *(EnsembleLinear(members, i, o) for i, o in pairwise(dims)),
            EnsembleLinear(members, dims[-1], out_dim, plain=True),
        )

    def forward(self, x: Float[Tensor, "B I"]) -> Float[Tensor, "N B O"]:
        """Every member's output for the same input."""
        return self.layers(x.expand(self.members, *x.shape))


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters, each once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
