"""Training: act where the mode is online, learn the world model, then actor and critic in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flowpwm import memory
from flowpwm.config import RunConfig
from flowpwm.diagnostics import model_metrics
from flowpwm.losses import (
    CriticBatch,
    actor_loss,
    critic_loss,
    critic_targets,
    imagine,
)
from flowpwm.modes import MODES
from flowpwm.report import SCORE_WINDOW, Evaluation, Report
from flowpwm.state import Acting, TrainState

logger = logging.getLogger(__name__)

# Latents that move less a step, relative to their spread, are taken for dead. Healthy runs of the
# built tasks show 0.05 to 0.3.
STILL = 0.01


class Diverged(FloatingPointError):
    """A loss or gradient is no longer finite; the message names it and the epoch."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


def train(state: TrainState, should_stop: Callable[[], bool] = never) -> Iterator[Report]:
    """Yield a report every `report_every` epochs and after the last; `state` goes along.

    A run ends after its epochs, or earlier where its score has not improved for `patience`
    evaluations. `should_stop` is asked before every epoch; once true, the generator ends with
    `state` whole, so that it can be saved and resumed. Raises Diverged on a non-finite loss or
    gradient.
    """
    config, mode = state.config, MODES[state.config.mode]
    while not state.finished and not should_stop():
        began = time.perf_counter()
        _set_learning_rates(state)
        if state.acting is not None:
            with _timed(state, "environment"):
                collect(state, state.acting)
        if mode.trains_world_model:
            with _timed(state, "world_model"):
                for _ in range(config.wm_updates + _warmup(state)):
                    update_world_model(state)
        for _ in range(config.actor_updates if mode.trains_policy else 0):
            with _timed(state, "actor"):
                batch = update_actor(state)
            with _timed(state, "critic"):
                update_critic(state, batch)
        state.epoch += 1

        last = state.epoch == config.epochs
        evaluations, diagnosis = (), None
        with _timed(state, "evaluation"):
            if state.evaluator and (state.epoch % config.evaluation.every == 0 or last):
                evaluations = state.evaluator(state.agent)
            if state.epoch % config.report_every == 0 or last:
                diagnosis = _diagnose(state)
        state.seconds["wall"] += time.perf_counter() - began
        if diagnosis is not None:
            yield _report(state, state.averages.take() | diagnosis, evaluations)


def _warmup(state: TrainState) -> int:
    """Extra updates in the first epoch of a world model that knows nothing yet."""
    fresh = state.epoch == 0 and not state.config.init_world_model
    return state.config.wm_warmup_updates if fresh else 0


def collect(state: TrainState, acting: Acting) -> None:
    """`horizon` steps of every environment; the policy sees each real observation."""
    device = state.config.device
    for _ in range(state.config.horizon):
        acting.noise = _explore(state, acting.noise)
        action = state.agent.act(acting.obs, acting.buffer.task, acting.noise)
        step = acting.envs.step(action.cpu().numpy())
        end = step.terminated | step.truncated
        acting.buffer.add(
            torch.as_tensor(acting.obs, device=device),
            action,
            torch.as_tensor(step.reward, device=device),
            torch.as_tensor(step.final_obs, device=device),
            torch.as_tensor(step.terminated, device=device),
            torch.as_tensor(end, device=device),
        )
        acting.obs = step.obs
        acting.episode_return += step.reward
        acting.episode_length += 1
        if end.any():
            state.averages.add("train/episode_return", float(np.mean(acting.episode_return[end])))
            state.averages.add("train/episode_length", float(np.mean(acting.episode_length[end])))
            acting.episode_return[end] = 0.0
            acting.episode_length[end] = 0
    steps = state.config.horizon * state.config.num_envs
    state.env_steps += steps
    state.averages.env_steps += steps


def _explore(state: TrainState, before: Tensor) -> Tensor:
    """The next standard-normal noise of each environment, correlated with the one before."""
    # Independent noise averages out within a swing: a pendulum that is pushed the same way for a
    # while reaches states that it never sees otherwise (Eberhard et al. 2023).
    keep = state.config.exploration_correlation
    fresh = torch.randn(before.shape, generator=state.generator, device=before.device)
    return keep * before + math.sqrt(1 - keep**2) * fresh


def update_world_model(state: TrainState) -> None:
    """One optimiser step on a fresh batch of sequences."""
    config, model = state.config, state.agent.world_model
    sequences = state.experience.sample(config.wm_batch_size, config.horizon, state.generator)
    noise = model.draw(config.horizon, config.wm_batch_size, state.generator)
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
    loss.backward(inputs=list(module.parameters()))


def _step(state: TrainState, name: str, module: nn.Module, loss: Tensor, max_norm: float) -> None:
    """Clip the gradients that `_backward` gathered, and step."""
    norm = nn.utils.clip_grad_norm_(module.parameters(), max_norm, foreach=True)
    for what, value in (("loss", loss), ("grad", norm)):
        if not torch.isfinite(value):
            raise Diverged(f"{what}/{name} is {float(value)} in epoch {state.epoch + 1}")
    state.optimisers[name].step()
    state.updates += 1
    state.averages.updates += 1
    state.averages.add(f"loss/{name}", loss)
    state.averages.add(f"grad/{name}", norm)


def _set_learning_rates(state: TrainState) -> None:
    for name, optimiser in state.optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(state.config, name, state.epoch)


def learning_rate(config: RunConfig, network: str, epoch: int) -> float:
    """The rate of `network` in an epoch: constant, or falling to `final_lr` after `decay_start`."""
    optim = config.optim
    starts = {"world_model": optim.wm_lr, "actor": optim.actor_lr, "critic": optim.critic_lr}
    first = starts[network]
    if optim.schedule == "constant":
        return first
    share = max(0.0, epoch / config.epochs - optim.decay_start) / (1 - optim.decay_start)
    if optim.schedule == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    return first + (optim.final_lr - first) * share


@contextmanager
def _timed(state: TrainState, phase: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    state.seconds[phase] += time.perf_counter() - began


def _diagnose(state: TrainState) -> dict[str, float]:
    # A generator of its own: how often a run is looked at must not change what it does.
    device = state.generator.device
    generator = torch.Generator(device).manual_seed(state.config.seed + state.epoch)
    sequences = state.experience.sample(256, state.config.horizon, generator)
    metrics = model_metrics(state.agent.world_model, sequences)
    if metrics["model/latent_movement"] < STILL:
        logger.warning(
            "epoch %d: latents move by %.4f of their spread a step; the encoder is collapsing, and "
            "a small model loss means nothing",
            state.epoch,
            metrics["model/latent_movement"],
        )
    return metrics


def _report(
    state: TrainState, metrics: dict[str, float], evaluations: tuple[Evaluation, ...]
) -> Report:
    metrics |= {f"time/{phase}_s": value for phase, value in state.seconds.items()}
    metrics |= {
        f"lr/{name}": optimiser.param_groups[0]["lr"]
        for name, optimiser in state.optimisers.items()
    }
    metrics |= {
        "memory/host_bytes": memory.host_bytes(),
        "memory/host_peak_bytes": memory.host_peak_bytes(),
        "memory/device_peak_bytes": memory.device_peak_bytes(state.config.device),
    }
    if state.acting is not None:
        metrics["buffer/transitions"] = len(state.experience)
    if MODES[state.config.mode].trains_policy:
        metrics["actor/std"] = float(state.agent.policy.std().detach().mean())
        metrics["actor/return_scale"] = state.scale.std
    is_best = _take_score(state, evaluations)
    return Report(state.epoch, state.env_steps, metrics, evaluations, state.score, is_best)


def _take_score(state: TrainState, evaluations: tuple[Evaluation, ...]) -> bool:
    """Whether the score, of this evaluation and those before it, is the run's best."""
    if not evaluations:
        return False
    mean = float(np.mean([evaluation.mean for evaluation in evaluations]))
    state.recent_scores = [*state.recent_scores, mean][-SCORE_WINDOW:]
    assert state.score is not None
    state.evaluations_since_best += 1
    if state.best_score is not None and state.score <= state.best_score:
        return False
    state.best_score, state.evaluations_since_best = state.score, 0
    return True
