"""The blocks that every network of the project is made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from flowpwm.activations import Mish
from flowpwm.precision import full

SIMNORM_GROUP = 8
INIT_STD = 0.02
# Mish is what published weights were trained with; SiLU is cheaper on a CPU.
ACTIVATIONS: dict[str, type[nn.Module]] = {"mish": Mish, "silu": nn.SiLU}


class NormedLinear(nn.Linear):
    """Linear, then LayerNorm, then an activation (SimNorm on a last layer)."""

    def __init__(self, in_dim: int, out_dim: int, activation: nn.Module):
        super().__init__(in_dim, out_dim)
        self.ln = nn.LayerNorm(out_dim)
        self.activation = activation

    def forward(self, input: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Activation of the normed product."""
        return self.activation(self.ln(super().forward(input)))


def group_softmax(x: Float[Tensor, "*B D"], group: int = SIMNORM_GROUP) -> Float[Tensor, "*B D"]:
    """Softmax within groups of `group` neighbours."""
    # With the groups on the last axis it runs over many numbers at a time: on a CPU fourteen times
    # as fast as over eight that lie side by side.
    across = full(x).unflatten(-1, (-1, group)).transpose(-1, -2)
    return torch.softmax(across, dim=-2).transpose(-1, -2).flatten(-2)


class SimNorm(nn.Module):
    """Softmax within groups: every group of `group` entries is a point of a simplex.

    Lavoie et al. 2022, "Simplicial embeddings"; used by TD-MPC2.
    """

    def __init__(self, group: int = SIMNORM_GROUP):
        super().__init__()
        self.group = group

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Softmax of every group."""
        return group_softmax(x, self.group)


def join(first: Tensor, *others: Tensor) -> Tensor:
    """Concatenate along the last axis; `others` are broadcast over the leading axes of `first`."""
    parts = [x.expand(*first.shape[:-1], -1) for x in others if x.shape[-1]]
    return torch.cat([first, *parts], dim=-1) if parts else first


class TaskEmbedding(nn.Module):
    """A learned vector a task, its norm clipped to 1 when read (TD-MPC2, §3.2).

    With `dim` 0 it holds nothing and every task reads as a vector of width 0.
    """

    def __init__(self, tasks: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tasks, dim).uniform_(-INIT_STD, INIT_STD))

    def forward(self, task: Int64[Tensor, "*B"]) -> Float[Tensor, "*B E"]:
        """The vectors of task ids."""
        rows = self.weight[task]
        return rows / rows.norm(dim=-1, keepdim=True).clamp_min(1.0)


def mlp(
    in_dim: int,
    hidden: Sequence[int],
    out_dim: int,
    last: Literal["linear", "simnorm"] = "linear",
    zero_last: bool = False,
    activation: str = "mish",
) -> nn.Sequential:
    """Normed hidden layers and a plain linear (optionally zero-initialised) or SimNorm last one.

    `activation` is one of ACTIVATIONS.
    Weights are drawn from a truncated normal of standard deviation 0.02, biases are 0.
    """
    dims = [in_dim, *hidden]
    layers: list[nn.Module] = [
        NormedLinear(i, o, ACTIVATIONS[activation]()) for i, o in pairwise(dims)
    ]
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
    """`members` linear layers as one batched product, then LayerNorm and an activation, if any."""

    def __init__(
        self, members: int, in_dim: int, out_dim: int, activation: nn.Module | None = None
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(members, 1, out_dim))
        nn.init.trunc_normal_(self.weight, std=INIT_STD)
        self.activation = activation
        if activation is not None:
            self.ln_weight = nn.Parameter(torch.ones(members, 1, out_dim))
            self.ln_bias = nn.Parameter(torch.zeros(members, 1, out_dim))

    def forward(self, x: Float[Tensor, "N B I"]) -> Float[Tensor, "N B O"]:
        """Member n maps x[n]."""
        x = torch.baddbmm(self.bias, x, self.weight)
        if self.activation is None:
            return x
        x = F.layer_norm(x, x.shape[-1:])
        return self.activation(torch.addcmul(self.ln_bias, x, self.ln_weight))


class Ensemble(nn.Module):
    """`members` MLPs with the same input, evaluated together: [B, I] -> [members, B, O]."""

    def __init__(
        self,
        members: int,
        in_dim: int,
        hidden: Sequence[int],
        out_dim: int,
        activation: str = "mish",
    ):
        super().__init__()
        dims = [in_dim, *hidden]
        self.members = members
        self.layers = nn.Sequential(
            *(EnsembleLinear(members, i, o, ACTIVATIONS[activation]()) for i, o in pairwise(dims)),
            EnsembleLinear(members, dims[-1], out_dim),
        )

    def forward(self, x: Float[Tensor, "B I"]) -> Float[Tensor, "N B O"]:
        """Every member's output for the same input."""
        return self.layers(x.expand(self.members, *x.shape))


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that gradients move, each once: not those of a running average."""
    return [p for p in module.parameters() if p.requires_grad]


def count_parameters(module: nn.Module) -> int:
    """How many numbers gradients move."""
    return sum(p.numel() for p in trainable(module))
