"""State values: an ensemble over latents whose minimum is the actor's terminal value."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from flowpwm.checks import layer_sizes, one_of, within
from flowpwm.networks import ACTIVATIONS, Ensemble, join
from flowpwm.precision import full


@dataclass(frozen=True)
class CriticConfig:
    """Size of the ensemble and of each member."""

    members: int = 3
    units: tuple[int, ...] = (400, 200)
    activation: str = "mish"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", layer_sizes("critic.units", self.units))
        within("critic.members", self.members, 1, 100)
        one_of("critic.activation", self.activation, ACTIVATIONS)


class Critic(nn.Module):
    """Values of latents, given the task's embedding, by every member."""

    def __init__(self, config: CriticConfig, context_dim: int):
        super().__init__()
        self.ensemble = Ensemble(config.members, context_dim, config.units, 1, config.activation)

    def forward(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"]
    ) -> Float[Tensor, "N ..."]:
        """Every member's value of every latent."""
        context = join(z, e)
        flat = context.reshape(-1, context.shape[-1])
        return full(self.ensemble(flat)).squeeze(-1).unflatten(1, z.shape[:-1])

    def minimum(self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"]) -> Float[Tensor, "*B"]:
        """The most pessimistic member's value, state by state."""
        return self(z, e).amin(0)
