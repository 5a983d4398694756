"""One optimiser step each: of the world model, of the actor inside it, of the critic.

How steps are taken for one run is in `alone`, for several at once in `together`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowpwm.agent import Agent
from flowpwm.config import RunConfig
from flowpwm.experience import Sequences
from flowpwm.losses import (
    CriticBatch,
    actor_loss,
    critic_loss,
    critic_targets,
    imagine,
)
from flowpwm.state import TrainState


class Diverged(FloatingPointError):
    """A loss or gradient is no longer finite; the message names it and the epoch."""


class WorldModelBatch(NamedTuple):
    """Sequences, the share of each step in the loss, and the random numbers that it needs."""

    sequences: Sequences
    weight: Float[Tensor, "H B"]
    noise: Float[Tensor, "H B N"]

    @staticmethod
    def draw(state: TrainState) -> WorldModelBatch:
        """A fresh one of a run."""
        config, model = state.config, state.agent.world_model
        size, steps = config.wm_batch_size, config.wm_steps
        sequences = state.experience.sample(size, steps, state.generator)
        noise = model.draw(steps, size, state.generator)
        return WorldModelBatch(sequences, model.step_weights(sequences.mask), noise)

    def split(self, parts: int) -> list[WorldModelBatch]:
        """The same in `parts` smaller batches."""
        weight, noise = self.weight.chunk(parts, dim=1), self.noise.chunk(parts, dim=1)
        some = zip(self.sequences.split(parts), weight, noise, strict=True)
        return [WorldModelBatch(*fields) for fields in some]


class ActorBatch(NamedTuple):
    """Where rollouts begin, the noise of their actions, and what their returns are divided by."""

    z: Float[Tensor, "B D"]
    e: Float[Tensor, "B E"]
    action_mask: Float[Tensor, "B A"]
    noise: Float[Tensor, "H B A"]
    scale: Float[Tensor, ""]

    @staticmethod
    @torch.no_grad()
    def draw(state: TrainState) -> ActorBatch:
        """A fresh one of a run."""
        config, agent = state.config, state.agent
        obs, task = state.experience.sample_obs(config.actor_batch_size, state.generator)
        e = agent.world_model.embed(task)
        z = agent.world_model.encode(obs, e)
        noise = agent.policy.noise(z.expand(config.horizon, *z.shape), state.generator)
        return ActorBatch(z, e, agent.action_mask[task], noise, state.scale.std.to(z.dtype))

    def split(self, parts: int) -> list[ActorBatch]:
        """The same in `parts` smaller batches."""
        starts = zip(*(x.chunk(parts) for x in (self.z, self.e, self.action_mask)), strict=True)
        noise = self.noise.chunk(parts, dim=1)
        return [
            ActorBatch(z, e, mask, some, self.scale)
            for (z, e, mask), some in zip(starts, noise, strict=True)
        ]


class Improvement(NamedTuple):
    """What an actor's loss gives beside itself, detached."""

    returns: Float[Tensor, " B"]
    entropy: Float[Tensor, ""]
    batch: CriticBatch


# Each network that is stepped, by the name of its optimiser, and where an agent has it.
NETWORKS = {"world_model": "world_model", "actor": "policy", "critic": "critic"}


def world_model_loss(
    agent: Agent, config: RunConfig, batch: WorldModelBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of (a part of) a batch and its detached parts."""
    del config
    return agent.world_model.loss(*batch)


def actor_objective(
    agent: Agent, config: RunConfig, batch: ActorBatch
) -> tuple[Tensor, Improvement]:
    """The loss of (a part of) a batch, weighing its share of `actor_batch_size`."""
    z, e, action_mask, noise, scale = batch
    imagined = imagine(
        agent.world_model,
        agent.policy,
        z,
        e,
        action_mask,
        noise,
        config.actor_reward_space,
        config.discount,
    )
    share = len(z) / config.actor_batch_size
    loss, returns = actor_loss(imagined, agent.critic, scale, config.actor_entropy_weight)
    entropy = share * imagined.entropy.detach().mean()
    learned = critic_targets(imagined, agent.critic, config.td_lambda)
    return share * loss, Improvement(returns, entropy, learned)


def critic_error(
    agent: Agent, config: RunConfig, batch: CriticBatch, order: Int64[Tensor, " n"]
) -> tuple[Tensor, tuple[()]]:
    """The loss of some of the states."""
    del config
    return critic_loss(agent.critic, batch.at(order)), ()


class Updates(ABC):
    """The steps of one or several runs, whose algorithm is here and whose means are a subclass's.

    A value "of all runs" is what `_gathered` makes of one value a run.
    """

    states: Sequence[TrainState]

    @property
    def config(self) -> RunConfig:
        """The runs' own, seeds aside."""
        return self.states[0].config

    def world_model(self) -> None:
        """One step on a fresh batch of sequences."""
        losses, parts = self._descend("world_model", world_model_loss, WorldModelBatch.draw)
        self._step("world_model", losses, self.config.optim.wm_grad_norm)
        for state, own in self._each(parts):
            state.agent.world_model.follow()
            note_parts(state, own)

    def actor(self) -> CriticBatch:
        """One step on imagined rollouts; returns what the critic learns from them, of all runs."""
        losses, improvements = self._descend("actor", actor_objective, ActorBatch.draw)
        self._step("actor", losses, self.config.optim.actor_grad_norm)
        batches = []
        for state, own in self._each(improvements):
            note_improvements(state, own)
            parts = [each.batch for each in own]
            batches.append(CriticBatch.together(parts, self.config.horizon))
        return self._gathered(batches)

    def critic(self, batch: CriticBatch) -> None:
        """`critic_iterations` passes over the imagined states in shuffled minibatches."""
        count = batch.targets.shape[-1]
        for order in zip(*(critic_orders(state, count) for state in self.states), strict=True):
            self._forget("critic")
            with self._only("critic"):
                loss, _ = self._call("critic", critic_error, batch, self._gathered(order))
                self._backward("critic", loss)
            self._step("critic", [loss.detach()], self.config.optim.critic_grad_norm)

    def _descend(
        self, name: str, objective: Callable[..., tuple[Tensor, Any]], draw: Callable[..., Any]
    ) -> tuple[list[Tensor], list[Any]]:
        """Gradients of a fresh batch, part by part; the parts' losses and what else they gave."""
        losses, others = [], []
        self._forget(name)
        drawn = [draw(state).split(self.config.microbatches) for state in self.states]
        for part in zip(*drawn, strict=True):
            with self._only(name):
                loss, other = self._call(name, objective, self._gathered(part))
                self._backward(name, loss)
            losses.append(loss.detach())
            others.append(other)
        return losses, others

    @abstractmethod
    def _gathered(self, values: Sequence[Any]) -> Any:
        """One value a run, equal structures of tensors, as one of all runs."""

    @abstractmethod
    def _each(self, values: list[Any]) -> Iterator[tuple[TrainState, list[Any]]]:
        """Every run, with its own of these values of all runs."""

    @abstractmethod
    def _only(self, name: str) -> AbstractContextManager[None]:
        """Where a network learns, and no gradients are formed for the others."""

    @abstractmethod
    def _call(self, name: str, objective: Callable[..., tuple[Tensor, Any]], *args: Any) -> Any:
        """`objective(agent, config, *args)`, of which the network `name` will learn."""

    @abstractmethod
    def _forget(self, name: str) -> None:
        """Drop the gradients of the last step of a network."""

    @abstractmethod
    def _backward(self, name: str, loss: Tensor) -> None:
        """Add to the gradients of a network, and of no other."""

    @abstractmethod
    def _step(self, name: str, losses: list[Tensor], max_norm: float) -> None:
        """Clip the gradients that were gathered, step, and `note_step`."""


def critic_orders(state: TrainState, count: int) -> list[Tensor]:
    """Which of `count` states each of the critic's steps learns from, pass after pass."""
    config, device = state.config, state.generator.device
    return [
        part
        for _ in range(config.critic_iterations)
        for part in torch.randperm(count, generator=state.generator, device=device).chunk(
            config.critic_minibatches
        )
    ]


def note_parts(state: TrainState, parts: list[dict[str, Tensor]]) -> None:
    """Keep the world model's losses for the next report; those of parts add up."""
    for name in parts[0]:
        state.averages.add(f"loss/{name}", torch.stack([part[name] for part in parts]).sum())


def note_improvements(state: TrainState, improvements: list[Improvement]) -> None:
    """After an actor's step: bounds, the scale of returns, and what the next report says."""
    state.agent.policy.keep_in_bounds()
    returns = torch.cat([each.returns for each in improvements])
    state.scale.update(returns)
    state.averages.add("actor/imagined_return", returns.mean())
    state.averages.add("actor/entropy", torch.stack([each.entropy for each in improvements]).sum())


def note_step(state: TrainState, name: str, loss: Tensor, norm: Tensor) -> None:
    """Count a step and keep its figures, for `refuse_divergence` to look at and for the report."""
    epoch = state.epoch + 1
    state.unchecked += [(f"loss/{name}", epoch, loss), (f"grad/{name}", epoch, norm)]
    state.updates += 1
    state.averages.updates += 1
    state.averages.add(f"loss/{name}", loss)
    state.averages.add(f"grad/{name}", norm)


def refuse_divergence(state: TrainState) -> None:
    """Raise Diverged, which names it, if a loss or gradient since the last look is not finite.

    To look makes a GPU's host wait for it: an epoch has one look, at its end.
    """
    unchecked, state.unchecked = state.unchecked, []
    if not unchecked or bool(torch.stack([value for *_, value in unchecked]).isfinite().all()):
        return
    for name, epoch, value in unchecked:
        if not bool(value.isfinite()):
            raise Diverged(f"{name} is {float(value)} in epoch {epoch}")
