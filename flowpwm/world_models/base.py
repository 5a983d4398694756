"""What every world model shares: encoder, reward head, decoder and the sequence loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from flowpwm import twohot
from flowpwm.checks import ConfigError, at_least, layer_sizes, positive, within
from flowpwm.networks import SIMNORM_GROUP, mlp


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and loss weights that do not depend on the kind of dynamics."""

    kind: str = ""
    latent_dim: int = 512
    encoder_units: tuple[int, ...] = (256,)
    units: tuple[int, ...] = (512, 512)
    num_bins: int = 101
    dynamics_weight: float = 100.0
    reward_weight: float = 0.5
    # Anchors the encoder: without it the cheapest consistent latent is one that never moves.
    reconstruction_weight: float = 1.0
    # Weight of a step t of a sequence is rho^t (TD-MPC2, eq. 3).
    rho: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", layer_sizes("world_model.units", self.units))
        sizes = layer_sizes("world_model.encoder_units", self.encoder_units)
        object.__setattr__(self, "encoder_units", sizes)
        positive("world_model.latent_dim", self.latent_dim)
        if self.latent_dim % SIMNORM_GROUP:
            raise ConfigError(
                f"world_model.latent_dim must be a multiple of {SIMNORM_GROUP} "
                f"(the SimNorm group), got {self.latent_dim}"
            )
        at_least("world_model.num_bins", self.num_bins, 2)
        for name in ("dynamics_weight", "reward_weight"):
            positive(f"world_model.{name}", getattr(self, name))
        at_least("world_model.reconstruction_weight", self.reconstruction_weight, 0)
        within("world_model.rho", self.rho, 0.0, 1.0)


class Sequences(NamedTuple):
    """H transitions of B environments in a row, hence T = H + 1 observations; time first.

    `mask` is False from the first step after an episode's end or the newest stored transition on.
    """

    obs: Float[Tensor, "T B O"]
    action: Float[Tensor, "H B A"]
    reward: Float[Tensor, "H B"]
    mask: Bool[Tensor, "H B"]


class WorldModel(nn.Module, ABC):
    """Encoder z = h(o), latent dynamics z' = d(z, a) and reward head R(z, a).

    Heads take their inputs in the order (z, action), as TD-MPC2's weights expect.
    """

    def __init__(self, config: WorldModelConfig, obs_dim: int, action_dim: int):
        super().__init__()
        self.config = config
        joint = config.latent_dim + action_dim
        self.encoder = mlp(obs_dim, config.encoder_units, config.latent_dim, last="simnorm")
        self.reward_head = mlp(joint, config.units, config.num_bins, zero_last=True)
        self.decoder = nn.Linear(config.latent_dim, obs_dim)

    def encode(self, obs: Float[Tensor, "*B O"]) -> Float[Tensor, "*B D"]:
        """The latents of observations."""
        # symlog keeps joint speeds of tens of radians a second in the range of the other inputs.
        return self.encoder(twohot.symlog(obs))

    @abstractmethod
    def next(self, z: Float[Tensor, "*B D"], action: Float[Tensor, "*B A"]) -> Tensor:
        """The latent one environment step later, [*B, D]; every SimNorm group sums to 1."""

    @abstractmethod
    def dynamics_parameters(self) -> int:
        """Trainable parameters of the dynamics alone."""

    def dynamics_loss(
        self,
        latents: Float[Tensor, "T B D"],
        rollout: Float[Tensor, "H B D"] | None,
        sequences: Sequences,
        weight: Float[Tensor, "H B"],
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the rolled-out latents against the encoded ones, weighted over H, B.

        `weight` sums to 1. The targets are detached: they are measurements, not predictions.
        """
        del sequences, generator
        assert rollout is not None
        error = (rollout - latents[1:].detach()).square().mean(-1)
        return (weight * error).sum(), {}

    def needs_rollout(self) -> bool:
        """Whether the loss rolls the dynamics out from the first latent of a sequence."""
        return True

    def reward_logits(self, z: Float[Tensor, "*B D"], action: Float[Tensor, "*B A"]) -> Tensor:
        """Logits of the two-hot reward for acting in a latent, [*B, bins]."""
        return self.reward_head(torch.cat([z, action], dim=-1))

    def rollout(self, z: Float[Tensor, "B D"], action: Float[Tensor, "H B A"]) -> Tensor:
        """The latents after each of the H actions, [H, B, D]."""
        steps = []
        for a in action.unbind(0):
            z = self.next(z, a)
            steps.append(z)
        return torch.stack(steps)

    def loss(
        self, sequences: Sequences, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Consistency + reward + reconstruction, averaged over the valid steps.

        Returns the scalar loss and its detached parts (PWM eq. 5; TD-MPC2 eq. 3).
        """
        config = self.config
        latents = self.encode(sequences.obs)
        rollout = self.rollout(latents[0], sequences.action) if self.needs_rollout() else None
        discount = config.rho ** torch.arange(len(sequences.mask), device=latents.device)
        weight = sequences.mask * discount.unsqueeze(-1)
        weight = weight / weight.sum()

        dynamics, parts = self.dynamics_loss(latents, rollout, sequences, weight, generator)
        # Reward is learned where it will be asked for: on the model's own latents.
        start = latents[:-1] if rollout is None else torch.cat([latents[:1], rollout[:-1]])
        logits = self.reward_logits(start, sequences.action)
        reward = (weight * twohot.cross_entropy(logits, sequences.reward)).sum()
        decoded = self.decoder(latents[:-1])
        reconstruction = (decoded - twohot.symlog(sequences.obs[:-1])).square().mean(-1)
        reconstruction = (weight * reconstruction).sum()

        total = (
            config.dynamics_weight * dynamics
            + config.reward_weight * reward
            + config.reconstruction_weight * reconstruction
        )
        metrics = {"dynamics": dynamics, "reward": reward, "reconstruction": reconstruction}
        return total, {k: v.detach() for k, v in (metrics | parts).items()}
