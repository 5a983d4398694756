"""One optimiser step each: of the world model, of the actor inside it, of the critic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowpwm.losses import (
    CriticBatch,
    actor_loss,
    critic_loss,
    critic_targets,
    imagine,
)
from flowpwm.networks import trainable
from flowpwm.state import TrainState


class Diverged(FloatingPointError):
    """A loss or gradient is no longer finite; the message names it and the epoch."""


def update_world_model(state: TrainState) -> None:
    """One optimiser step on a fresh batch of sequences."""
    config, model = state.config, state.agent.world_model
    sequences = state.experience.sample(config.wm_batch_size, config.wm_steps, state.generator)
    noise = model.draw(config.wm_steps, config.wm_batch_size, state.generator)
    weight = model.step_weights(sequences.mask)
    losses: list[Tensor] = []
    parts: list[dict[str, Tensor]] = []
    state.optimisers["world_model"].zero_grad(set_to_none=True)
    for some, some_weight, some_noise in zip(
        sequences.split(config.microbatches),
        weight.chunk(config.microbatches, dim=1),
        noise.chunk(config.microbatches, dim=1),
        strict=True,
    ):
        loss, shares = model.loss(some, some_weight, some_noise)
        _backward(model, loss)
        losses.append(loss.detach())
        parts.append(shares)
    _step(state, "world_model", model, torch.stack(losses).sum(), config.optim.wm_grad_norm)
    model.follow()
    for name in parts[0]:
        state.averages.add(f"loss/{name}", torch.stack([part[name] for part in parts]).sum())


def update_actor(state: TrainState) -> CriticBatch:
    """One optimiser step on imagined rollouts; returns what the critic learns from them."""
    config, agent = state.config, state.agent
    size = config.actor_batch_size
    obs, task = state.experience.sample_obs(size, state.generator)
    with torch.no_grad():
        e = agent.world_model.embed(task)
        z = agent.world_model.encode(obs, e)
    mask = agent.action_mask[task]
    noise = agent.policy.noise(z.expand(config.horizon, *z.shape), state.generator)
    losses: list[Tensor] = []
    returns: list[Tensor] = []
    entropies: list[Tensor] = []
    batches: list[CriticBatch] = []
    state.optimisers["actor"].zero_grad(set_to_none=True)
    for some_z, some_e, some_mask, some_noise in zip(
        *(x.chunk(config.microbatches) for x in (z, e, mask)),
        noise.chunk(config.microbatches, dim=1),
        strict=True,
    ):
        imagined = imagine(
            agent.world_model,
            agent.policy,
            some_z,
            some_e,
            some_mask,
            some_noise,
            config.actor_reward_space,
            config.discount,
        )
        share = len(some_z) / size
        loss, some_returns = actor_loss(
            imagined, agent.critic, state.scale.std, config.actor_entropy_weight
        )
        loss = share * loss
        _backward(agent.policy, loss)
        losses.append(loss.detach())
        returns.append(some_returns)
        entropies.append(share * imagined.entropy.detach().mean())
        batches.append(critic_targets(imagined, agent.critic, config.td_lambda))
    _step(state, "actor", agent.policy, torch.stack(losses).sum(), config.optim.actor_grad_norm)
    agent.policy.keep_in_bounds()
    whole = torch.cat(returns)
    state.scale.update(whole)
    state.averages.add("actor/imagined_return", whole.mean())
    state.averages.add("actor/entropy", torch.stack(entropies).sum())
    return CriticBatch.together(batches, config.horizon)


def update_critic(state: TrainState, batch: CriticBatch) -> None:
    """`critic_iterations` passes over the imagined states in shuffled minibatches."""
    config, critic = state.config, state.agent.critic
    count, device = len(batch.targets), batch.targets.device
    for _ in range(config.critic_iterations):
        order = torch.randperm(count, generator=state.generator, device=device)
        for part in order.chunk(config.critic_minibatches):
            state.optimisers["critic"].zero_grad(set_to_none=True)
            loss = critic_loss(critic, batch.at(part))
            _backward(critic, loss)
            _step(state, "critic", critic, loss, config.optim.critic_grad_norm)


def _backward(module: nn.Module, loss: Tensor) -> None:
    # Only the stepped network's gradients are formed: the rest of the graph is passed through.
    loss.backward(inputs=trainable(module))


def _step(state: TrainState, name: str, module: nn.Module, loss: Tensor, max_norm: float) -> None:
    """Clip the gradients that `_backward` gathered, and step."""
    norm = nn.utils.clip_grad_norm_(trainable(module), max_norm, foreach=True)
    for what, value in (("loss", loss), ("grad", norm)):
        if not torch.isfinite(value):
            raise Diverged(f"{what}/{name} is {float(value)} in epoch {state.epoch + 1}")
    state.optimisers[name].step()
    state.updates += 1
    state.averages.updates += 1
    state.averages.add(f"loss/{name}", loss)
    state.averages.add(f"grad/{name}", norm)
