"""What every world model shares: encoder, task embedding, heads, decoder and the sequence loss."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from flowpwm import twohot
from flowpwm.checks import ConfigError, at_least, layer_sizes, one_of, positive, within
from flowpwm.envs.tasks import TaskSet
from flowpwm.experience import Sequences
from flowpwm.networks import ACTIVATIONS, SIMNORM_GROUP, TaskEmbedding, join, mlp
from flowpwm.precision import full


def _mse_broadcast(logits: Tensor, reward: Tensor) -> Tensor:
    # An ablation: every logit is drawn to the reward itself, all rows of the head stay equal, and
    # the decoded reward is the same in every state.
    return (logits - reward.unsqueeze(-1)).square().mean(-1)


REWARD_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "two_hot": twohot.cross_entropy,
    "mse_broadcast": _mse_broadcast,
}


def _periodic(obs: Tensor) -> Tensor:
    return torch.cat([twohot.symlog(obs), obs.sin(), obs.cos()], dim=-1)


class ObservationTransform(NamedTuple):
    """What the encoder sees of an observation, and the decoder gives back."""

    apply: Callable[[Tensor], Tensor]
    copies: int  # numbers for every number of the observation


OBSERVATION_TRANSFORMS = {
    # symlog keeps joint speeds of tens of radians a second in the range of the other inputs.
    "symlog": ObservationTransform(twohot.symlog, 1),
    # For joints that turn on and on: an arm that spun ten times stands where it stood.
    "periodic": ObservationTransform(_periodic, 3),
    "none": ObservationTransform(lambda obs: obs, 1),
}


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes and loss weights that do not depend on the kind of dynamics.

    `task_set` names the tasks that the embedding covers, where they are more than the run's own.
    """

    kind: str = ""
    task_set: str = ""
    task_dim: int = 0
    latent_dim: int = 512
    encoder_units: tuple[int, ...] = (256,)
    units: tuple[int, ...] = (512, 512)
    activation: str = "mish"
    num_bins: int = 101
    observation_transform: str = "symlog"
    reward_loss: str = "two_hot"
    dynamics_weight: float = 100.0
    reward_weight: float = 0.5
    # Anchors the encoder: without it the cheapest consistent latent is one that never moves.
    reconstruction_weight: float = 1.0
    # Two other anchors: the action has to be told from the latents before and after it; latents are
    # to reach those of a running average of the encoder, of which an update leaves this share.
    inverse_dynamics_weight: float = 0.0
    target_momentum: float = 0.0
    continuation_weight: float = 1.0  # of the head that tells final states, where tasks have any
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
        at_least("world_model.task_dim", self.task_dim, 0)
        for name in ("reconstruction", "inverse_dynamics", "continuation"):
            at_least(f"world_model.{name}_weight", getattr(self, f"{name}_weight"), 0)
        within("world_model.target_momentum", self.target_momentum, 0.0, 0.9999)
        one_of("world_model.activation", self.activation, ACTIVATIONS)
        one_of("world_model.reward_loss", self.reward_loss, REWARD_LOSSES)
        one_of(
            "world_model.observation_transform", self.observation_transform, OBSERVATION_TRANSFORMS
        )
        within("world_model.rho", self.rho, 0.0, 1.0)


class WorldModel(nn.Module, ABC):
    """Encoder z = h(o, e), latent dynamics z' = d(z, e, a) and reward head R(z, e, a).

    e is the task's embedding, of width 0 where there is one task. Every network takes its inputs
    in the order (observation or latent, embedding, action), as TD-MPC2's weights expect.
    """

    def __init__(self, config: WorldModelConfig, tasks: TaskSet):
        super().__init__()
        self.config = config
        self.action_dim = tasks.action_dim
        self.embedding = TaskEmbedding(len(tasks), config.task_dim)
        latent = config.latent_dim + config.task_dim
        joint = latent + tasks.action_dim
        self.transform, copies = OBSERVATION_TRANSFORMS[config.observation_transform]
        self.encoder = mlp(
            copies * tasks.obs_dim + config.task_dim,
            config.encoder_units,
            config.latent_dim,
            last="simnorm",
            activation=config.activation,
        )
        self.reward_head = mlp(
            joint, config.units, config.num_bins, zero_last=True, activation=config.activation
        )
        self.decoder = (
            nn.Linear(config.latent_dim, copies * tasks.obs_dim)
            if config.reconstruction_weight > 0
            else None
        )
        self.inverse_head = (
            mlp(
                latent + config.latent_dim,
                config.units,
                tasks.action_dim,
                activation=config.activation,
            )
            if config.inverse_dynamics_weight > 0
            else None
        )
        self.target_encoder = (
            copy.deepcopy(self.encoder).requires_grad_(False)
            if config.target_momentum > 0
            else None
        )
        self.continuation_head = (
            mlp(latent, config.units, 1, zero_last=True, activation=config.activation)
            if tasks.terminates and config.continuation_weight > 0
            else None
        )
        self.reward_loss = REWARD_LOSSES[config.reward_loss]
        self.recompute = False  # how a machine does it, so no setting of the model

    def embed(self, task: Int64[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """The embeddings of task ids, of norm 1 at most."""
        return self.embedding(task)

    def encode(self, obs: Float[Tensor, "*B O"], e: Float[Tensor, "*#B E"]) -> Tensor:
        """The latents of observations, [*B, D]; `e` is broadcast over leading axes."""
        return self.encoder(join(self.transform(obs), e))

    @torch.no_grad()
    def _targets(self, latents: Tensor, obs: Tensor, e: Tensor) -> Float[Tensor, "H B D"]:
        """What the dynamics have to reach: measurements, which no gradient moves."""
        if self.target_encoder is None:
            return latents[1:].detach()
        return self.target_encoder(join(self.transform(obs[1:]), e))

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target encoder, if there is one, by what `target_momentum` leaves.

        The running average of Grill et al. 2020, "Bootstrap your own latent".
        """
        if self.target_encoder is None:
            return
        share = 1.0 - self.config.target_momentum
        for target, source in zip(
            self.target_encoder.parameters(), self.encoder.parameters(), strict=True
        ):
            target.lerp_(source, share)

    @abstractmethod
    def next(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"], action: Float[Tensor, "*B A"]
    ) -> Tensor:
        """The latent one environment step later, [*B, D]; every SimNorm group sums to 1."""

    def advance(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"], action: Float[Tensor, "*B A"]
    ) -> Tensor:
        """`next` as a rollout takes it: where `recompute`, without keeping what is inside.

        The backward pass then does a step's forward pass again (Chen et al. 2016, "Training deep
        nets with sublinear memory cost"): memory no longer grows with the substeps.
        """
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.next, z, e, action, use_reentrant=False)
        return self.next(z, e, action)

    @abstractmethod
    def dynamics_parameters(self) -> int:
        """Trainable parameters of the dynamics alone."""

    def draw(self, horizon: int, batch: int, generator: torch.Generator) -> Float[Tensor, "H B N"]:
        """The random numbers that one `loss` needs, N for a transition."""
        return torch.empty(horizon, batch, 0, device=generator.device)

    def dynamics_loss(
        self,
        latents: Float[Tensor, "T B D"],
        targets: Float[Tensor, "H B D"],
        rollout: Float[Tensor, "H B D"] | None,
        e: Float[Tensor, "B E"],
        sequences: Sequences,
        weight: Float[Tensor, "H B"],
        noise: Float[Tensor, "H B N"],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the rolled-out latents against the targets, weighted over H, B.

        `latents` are the encoder's own, from the first of a sequence on.
        """
        del latents, e, sequences, noise
        assert rollout is not None
        error = (rollout - targets).square().mean(-1)
        return (weight * error).sum(), {}

    def needs_rollout(self) -> bool:
        """Whether the loss rolls the dynamics out from the first latent of a sequence."""
        return True

    def reward_logits(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"], action: Float[Tensor, "*B A"]
    ) -> Tensor:
        """Logits of the two-hot reward for acting in a latent, [*B, bins]."""
        return self.reward_head(join(z, e, action))

    def continuation(
        self, z: Float[Tensor, "*B D"], e: Float[Tensor, "*#B E"]
    ) -> Float[Tensor, "*B"] | None:
        """The probability that a state has a future; None where no task has final states."""
        if self.continuation_head is None:
            return None
        return torch.sigmoid(self.continuation_head(join(z, e)).squeeze(-1))

    def rollout(
        self, z: Float[Tensor, "B D"], e: Float[Tensor, "B E"], action: Float[Tensor, "H B A"]
    ) -> Tensor:
        """The latents after each of the H actions, [H, B, D]."""
        steps = []
        for a in action.unbind(0):
            z = self.advance(z, e, a)
            steps.append(z)
        return torch.stack(steps)

    def step_weights(self, mask: Bool[Tensor, "H B"]) -> Float[Tensor, "H B"]:
        """The share of each step in the loss: rho^t where valid, 1 in sum over the batch."""
        discount = self.config.rho ** torch.arange(len(mask), device=mask.device)
        weight = mask * discount.unsqueeze(-1)
        return weight / weight.sum()

    def loss(
        self, sequences: Sequences, weight: Float[Tensor, "H B"], noise: Float[Tensor, "H B N"]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Consistency, reward, and what heads there are, weighted by `step_weights`.

        Returns the scalar loss and its detached parts (PWM eq. 5; TD-MPC2 eq. 3). Of a part of a
        batch it is that part's share: the parts' losses add up to the whole batch's.
        """
        config = self.config
        e = self.embed(sequences.task)
        latents = self.encode(sequences.obs, e)
        rollout = self.rollout(latents[0], e, sequences.action) if self.needs_rollout() else None

        targets = self._targets(latents, sequences.obs, e)
        dynamics, parts = self.dynamics_loss(latents, targets, rollout, e, sequences, weight, noise)
        # Reward is learned where it will be asked for: on the model's own latents.
        start = latents[:-1] if rollout is None else torch.cat([latents[:1], rollout[:-1]])
        logits = self.reward_logits(start, e, sequences.action)
        reward = (weight * self.reward_loss(logits, sequences.reward)).sum()
        total = config.dynamics_weight * dynamics + config.reward_weight * reward
        parts |= {"dynamics": dynamics, "reward": reward}

        if self.decoder is not None:
            error = self.decoder(latents[:-1]) - self.transform(sequences.obs[:-1])
            parts["reconstruction"] = (weight * error.square().mean(-1)).sum()
            total = total + config.reconstruction_weight * parts["reconstruction"]
        if self.inverse_head is not None:
            told = self.inverse_head(join(latents[:-1], e, latents[1:]))
            error = (told - sequences.action).square().mean(-1)
            parts["inverse_dynamics"] = (weight * error).sum()
            total = total + config.inverse_dynamics_weight * parts["inverse_dynamics"]
        if self.continuation_head is not None:
            reached = latents[1:] if rollout is None else rollout
            logit = full(self.continuation_head(join(reached, e))).squeeze(-1)
            error = F.binary_cross_entropy_with_logits(
                logit, (~sequences.terminated).to(logit), reduction="none"
            )
            parts["continuation"] = (weight * error).sum()
            total = total + config.continuation_weight * parts["continuation"]
        return total, {name: value.detach() for name, value in parts.items()}
