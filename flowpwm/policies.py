"""Policies: a latent in, an action in (-1, 1) out. Adding one is a class and a `POLICIES` line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowpwm.checks import at_least, layer_sizes, one_of
from flowpwm.integrators import INTEGRATORS, integrate
from flowpwm.networks import ACTIVATIONS, join, mlp
from flowpwm.precision import full


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes that every policy has."""

    kind: str = ""
    units: tuple[int, ...] = (400, 200, 100)
    activation: str = "mish"
    init_log_std: float = -1.0
    min_log_std: float = -1.427

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", layer_sizes("policy.units", self.units))
        one_of("policy.activation", self.activation, ACTIVATIONS)
        at_least(
            "policy.init_log_std - policy.min_log_std", self.init_log_std - self.min_log_std, 0
        )


@dataclass(frozen=True)
class GaussianPolicyConfig(PolicyConfig):
    """A mean from an MLP; it has no options of its own."""

    kind: str = "gaussian"


@dataclass(frozen=True)
class FlowPolicyConfig(PolicyConfig):
    """How the action's ODE is integrated."""

    kind: str = "flow"
    integrator: str = "euler"
    substeps: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("policy.integrator", self.integrator, INTEGRATORS)
        at_least("policy.substeps", self.substeps, 1)


class Policy(nn.Module, ABC):
    """A stochastic policy with a learned, state-independent noise scale.

    e is the embedding of the task, of width 0 where there is one task.
    """

    def __init__(self, config: PolicyConfig, action_dim: int):
        super().__init__()
        self.action_dim = action_dim
        self.min_log_std = config.min_log_std
        self.log_std = nn.Parameter(torch.full((action_dim,), config.init_log_std))

    def std(self) -> Float[Tensor, " A"]:
        """The noise scale of every action component."""
        return self.log_std.exp()

    @torch.no_grad()
    def keep_in_bounds(self) -> None:
        """After a step: a noise scale below its floor goes back to it.

        A clamp on the way to the loss would have no slope below the floor, and a scale that fell
        there could never rise again.
        """
        self.log_std.clamp_(min=self.min_log_std)

    def noise(self, z: Float[Tensor, "*B D"], generator: torch.Generator) -> Float[Tensor, "*B A"]:
        """Standard-normal noise for a batch of latents."""
        shape = (*z.shape[:-1], self.action_dim)
        return torch.randn(shape, generator=generator, device=z.device, dtype=z.dtype)

    @abstractmethod
    def pre_tanh(
        self,
        z: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        noise: Float[Tensor, "*B A"] | None,
    ) -> Float[Tensor, "*B A"]:
        """The unsquashed action of standard-normal `noise`; deterministic where that is None."""

    def forward(
        self,
        z: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        noise: Float[Tensor, "*B A"] | None,
    ) -> Float[Tensor, "*B A"]:
        """The action in (-1, 1)."""
        return torch.tanh(self.pre_tanh(z, e, noise))


class GaussianPolicy(Policy):
    """tanh(mean(z) + std * noise)."""

    def __init__(self, config: GaussianPolicyConfig, context_dim: int, action_dim: int):
        super().__init__(config, action_dim)
        self.mean = mlp(context_dim, config.units, action_dim, activation=config.activation)

    def pre_tanh(
        self,
        z: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        noise: Float[Tensor, "*B A"] | None,
    ) -> Float[Tensor, "*B A"]:
        """The mean plus scaled noise."""
        mean = full(self.mean(join(z, e)))
        return mean if noise is None else mean + self.std() * noise


class FlowPolicy(Policy):
    """tanh(x at tau=1) of an ODE dx/dtau = v(z, x, tau) from x = std * noise at tau=0."""

    def __init__(self, config: FlowPolicyConfig, context_dim: int, action_dim: int):
        super().__init__(config, action_dim)
        self.velocity_head = mlp(
            context_dim + action_dim + 1, config.units, action_dim, activation=config.activation
        )
        self.integrator, self.substeps = config.integrator, config.substeps

    def pre_tanh(
        self,
        z: Float[Tensor, "*B D"],
        e: Float[Tensor, "*#B E"],
        noise: Float[Tensor, "*B A"] | None,
    ) -> Float[Tensor, "*B A"]:
        """Where the flow carries scaled noise."""
        start = z.new_zeros(*z.shape[:-1], self.action_dim)
        if noise is not None:
            start = self.std() * noise
        velocity = partial(self._velocity_at, z, e, torch.ones_like(z[..., :1]))
        return integrate(velocity, start, self.integrator, self.substeps)

    def _velocity_at(self, z: Tensor, e: Tensor, one: Tensor, x: Tensor, tau: float) -> Tensor:
        return self.velocity_head(join(z, e, x, one * tau))


class Kind(NamedTuple):
    """A configuration schema and the policy that it describes."""

    config: type[Any]
    policy: type[Any]


POLICIES: dict[str, Kind] = {
    "gaussian": Kind(GaussianPolicyConfig, GaussianPolicy),
    "flow": Kind(FlowPolicyConfig, FlowPolicy),
}


def make_policy(config: PolicyConfig, context_dim: int, action_dim: int) -> Policy:
    """The untrained policy that `config` describes; a context is a latent and an embedding."""
    return POLICIES[config.kind].policy(config, context_dim, action_dim)
