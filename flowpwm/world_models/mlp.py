"""The MLP baseline: the next latent in one shot, as in TD-MPC2 and PWM."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from flowpwm.envs.tasks import TaskSet
from flowpwm.networks import count_parameters, join, mlp
from flowpwm.world_models.base import WorldModel, WorldModelConfig


@dataclass(frozen=True)
class MLPWorldModelConfig(WorldModelConfig):
    """z' = SimNorm(MLP(z, e, a)); it has no options of its own."""

    kind: str = "mlp"


class MLPWorldModel(WorldModel):
    """One network from (z, e, a) to the next latent."""

    def __init__(self, config: MLPWorldModelConfig, tasks: TaskSet):
        super().__init__(config, tasks)
        joint = config.latent_dim + config.task_dim + tasks.action_dim
        self.dynamics = mlp(
            joint, config.units, config.latent_dim, last="simnorm", activation=config.activation
        )

    def next(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"], action: Float[Tensor, "*B A"]
    ) -> Tensor:
        """SimNorm of the network's output."""
        return self.dynamics(join(z, e, action))

    def dynamics_parameters(self) -> int:
        """Parameters of that network."""
        return count_parameters(self.dynamics)
