"""Online training: act, learn the world model, then actor and critic inside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from flowpwm import memory
from flowpwm.config import RunConfig
from flowpwm.diagnostics import model_metrics
from flowpwm.losses import actor_loss, critic_loss, critic_targets, imagine, saturation
from flowpwm.report import SCORE_WINDOW, Evaluation, Report
from flowpwm.state import TrainState

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

    `should_stop` is asked before every epoch; once true, the generator ends with `state` whole, so
    that it can be saved and resumed. Raises Diverged on a non-finite loss or gradient.
    """
    config = state.config
    while state.epoch < config.epochs and not should_stop():
        began = time.perf_counter()
        _set_learning_rates(state)
        with _timed(state, "environment"):
            collect(state)
        with _timed(state, "world_model"):
            for _ in range(
                config.wm_updates + (config.wm_warmup_updates if not state.epoch else 0)
            ):
                update_world_model(state)
        for _ in range(config.actor_updates):
            with _timed(state, "actor"):
                latents, targets = update_actor(state)
            with _timed(state, "critic"):
                update_critic(state, latents, targets)
        state.epoch += 1

        last = state.epoch == config.epochs
        evaluation, diagnosis = None, None
        with _timed(state, "evaluation"):
            if state.epoch % config.evaluation.every == 0 or last:
                evaluation = state.evaluator(state.agent)
            if state.epoch % config.report_every == 0 or last:
                diagnosis = _diagnose(state)
        state.seconds["wall"] += time.perf_counter() - began
        if diagnosis is not None:
            yield _report(state, state.averages.take() | diagnosis, evaluation)


def collect(state: TrainState) -> None:
    """`horizon` steps of every environment; the policy sees each real observation."""
    device = state.config.device
    for _ in range(state.config.horizon):
        action = state.agent.act(state.obs, state.generator)
        step = state.env.step(action.cpu().numpy())
        end = step.terminated | step.truncated
        state.buffer.add(
            torch.as_tensor(state.obs, device=device),
            action,
            torch.as_tensor(step.reward, device=device),
            torch.as_tensor(step.final_obs, device=device),
            torch.as_tensor(end, device=device),
        )
        state.obs = step.obs
        state.episode_return += step.reward
        state.episode_length += 1
        if end.any():
            state.averages.add("train/episode_return", float(np.mean(state.episode_return[end])))
            state.averages.add("train/episode_length", float(np.mean(state.episode_length[end])))
            state.episode_return[end] = 0.0
            state.episode_length[end] = 0
    steps = state.config.horizon * state.config.num_envs
    state.env_steps += steps
    state.averages.env_steps += steps


def update_world_model(state: TrainState) -> None:
    """One optimiser step on a fresh batch of sequences."""
    config = state.config
    sequences = state.buffer.sample(config.wm_batch_size, config.horizon, state.generator)
    loss, parts = state.agent.world_model.loss(sequences, state.generator)
    _step(state, "world_model", state.agent.world_model, loss, config.optim.wm_grad_norm)
    for name, value in parts.items():
        state.averages.add(f"loss/{name}", value)


def update_actor(state: TrainState) -> tuple[Tensor, Tensor]:
    """One optimiser step on imagined rollouts; returns their latents and critic targets."""
    config, agent = state.config, state.agent
    obs = state.buffer.sample_obs(config.actor_batch_size, state.generator)
    with torch.no_grad():
        z = agent.world_model.encode(obs)
    imagined = imagine(
        agent.world_model,
        agent.policy,
        z,
        config.horizon,
        config.actor_reward_space,
        state.generator,
    )
    loss, returns = actor_loss(imagined, agent.critic, config.discount, state.scale.std)
    saturated = saturation(imagined.pre_tanh)
    loss = loss + config.actor_saturation_weight * saturated
    _step(state, "actor", agent.policy, loss, config.optim.actor_grad_norm)
    state.scale.update(returns)
    state.averages.add("actor/imagined_return", returns.mean())
    state.averages.add("actor/saturation", saturated)
    return critic_targets(imagined, agent.critic, config.discount, config.td_lambda)


def update_critic(state: TrainState, latents: Tensor, targets: Tensor) -> None:
    """`critic_iterations` passes over the imagined states in shuffled minibatches."""
    config, critic = state.config, state.agent.critic
    for _ in range(config.critic_iterations):
        order = torch.randperm(len(latents), generator=state.generator, device=latents.device)
        for part in order.chunk(config.critic_minibatches):
            loss = critic_loss(critic, latents[part], targets[part])
            _step(state, "critic", critic, loss, config.optim.critic_grad_norm)


def _step(state: TrainState, name: str, module: nn.Module, loss: Tensor, max_norm: float) -> None:
    parameters = list(module.parameters())
    optimiser = state.optimisers[name]
    optimiser.zero_grad(set_to_none=True)
    # Only the stepped network's gradients are formed: the rest of the graph is passed through.
    loss.backward(inputs=parameters)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
    for what, value in (("loss", loss), ("grad", norm)):
        if not torch.isfinite(value):
            raise Diverged(f"{what}/{name} is {float(value)} in epoch {state.epoch + 1}")
    optimiser.step()
    state.updates += 1
    state.averages.updates += 1
    state.averages.add(f"loss/{name}", loss)
    state.averages.add(f"grad/{name}", norm)


def _set_learning_rates(state: TrainState) -> None:
    for name, optimiser in state.optimisers.items():
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(state.config, name, state.epoch)


def learning_rate(config: RunConfig, network: str, epoch: int) -> float:
    """The rate of `network` in an epoch: constant, or linear to `final_lr` after `decay_start`."""
    optim = config.optim
    starts = {"world_model": optim.wm_lr, "actor": optim.actor_lr, "critic": optim.critic_lr}
    first = starts[network]
    if optim.schedule == "constant":
        return first
    share = max(0.0, epoch / config.epochs - optim.decay_start) / (1 - optim.decay_start)
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
    sequences = state.buffer.sample(256, state.config.horizon, generator)
    metrics = model_metrics(state.agent.world_model, sequences)
    if metrics["model/latent_movement"] < STILL:
        logger.warning(
            "epoch %d: latents move by %.4f of their spread a step; the encoder is collapsing, and "
            "a small model loss means nothing",
            state.epoch,
            metrics["model/latent_movement"],
        )
    return metrics


def _report(state: TrainState, metrics: dict[str, float], evaluation: Evaluation | None) -> Report:
    metrics |= {f"time/{phase}_s": value for phase, value in state.seconds.items()}
    metrics |= {
        "lr/actor": state.optimisers["actor"].param_groups[0]["lr"],
        "actor/std": float(state.agent.policy.std().detach().mean()),
        "actor/return_scale": state.scale.std,
        "buffer/transitions": len(state.buffer),
        "memory/host_bytes": memory.host_bytes(),
        "memory/host_peak_bytes": memory.host_peak_bytes(),
        "memory/device_peak_bytes": memory.device_peak_bytes(state.config.device),
    }
    is_best = False
    if evaluation is not None:
        state.recent_scores = [*state.recent_scores, evaluation.mean][-SCORE_WINDOW:]
        assert state.score is not None
        is_best = state.best_score is None or state.score > state.best_score
        if is_best:
            state.best_score = state.score
    return Report(state.epoch, state.env_steps, metrics, evaluation, state.score, is_best)
