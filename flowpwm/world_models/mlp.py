"""The MLP baseline: the next latent in one shot, as in TD-MPC2 and PWM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from flowpwm.networks import count_parameters, mlp
from flowpwm.world_models.base import WorldModel, WorldModelConfig


@dataclass(frozen=True)
class MLPWorldModelConfig(WorldModelConfig):
    """z' = SimNorm(MLP(z, a)); it has no options of its own."""

    kind: str = "mlp"


class MLPWorldModel(WorldModel):
    """One network from (z, a) to the next latent."""

    def __init__(self, config: MLPWorldModelConfig, obs_dim: int, action_dim: int):
        super().__init__(config, obs_dim, action_dim)
        joint = config.latent_dim + action_dim
        self.dynamics = mlp(joint, config.units, config.latent_dim, last="simnorm")

    def next(self, z: Float[Tensor, "*B D"], action: Float[Tensor, "*B A"]) -> Tensor:
        """SimNorm of the network\'s output."""
        return self.dynamics(torch.cat([z, action], dim=-1))

    def dynamics_parameters(self) -> int:
        """Parameters of that network."""
        return count_parameters(self.dynamics)
