"""Training: act where the mode is online, learn the world model, then actor and critic in it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from flowpwm import memory
from flowpwm.alone import Alone
from flowpwm.config import RunConfig
from flowpwm.diagnostics import model_metrics
from flowpwm.modes import MODES
from flowpwm.report import SCORE_WINDOW, Evaluation, Report
from flowpwm.state import Acting, TrainState
from flowpwm.stopwatch import Stopwatch
from flowpwm.updates import Updates, refuse_divergence

logger = logging.getLogger(__name__)

# Latents that move less a step, relative to their spread, are taken for dead. Healthy runs of the
# built tasks show 0.05 to 0.3.
STILL = 0.01


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
    updates = Alone(state)
    while not state.finished and not should_stop():
        learn([state], updates)
        refuse_divergence(state)
        report = look(state)
        if report is not None:
            yield report


def learn(states: Sequence[TrainState], updates: Updates) -> None:
    """One epoch of runs that differ in their seeds only; each pays its share of the time."""
    config, mode = states[0].config, MODES[states[0].config.mode]
    with _paid_by(states) as watch:
        for state in states:
            _set_learning_rates(state)
            if state.acting is not None:
                with watch.phase("environment"):
                    collect(state, state.acting)
        if mode.trains_world_model:
            with watch.phase("world_model"):
                for _ in range(config.wm_updates + _warmup(states[0])):
                    updates.world_model()
        for _ in range(config.actor_updates if mode.trains_policy else 0):
            with watch.phase("actor"):
                batch = updates.actor()
            with watch.phase("critic"):
                updates.critic(batch)
    for state in states:
        state.epoch += 1


def look(state: TrainState) -> Report | None:
    """Evaluate and report, where it is time to."""
    config = state.config
    last = state.epoch == config.epochs
    evaluations, diagnosis = (), None
    with _paid_by([state]) as watch, watch.phase("evaluation"):
        if state.evaluator and (state.epoch % config.evaluation.every == 0 or last):
            evaluations = state.evaluator(state.agent)
        if state.epoch % config.report_every == 0 or last:
            diagnosis = _diagnose(state)
    if diagnosis is None:
        return None
    return _report(state, state.averages.take() | diagnosis, evaluations)


@contextmanager
def _paid_by(states: Sequence[TrainState]) -> Iterator[Stopwatch]:
    """Wall, CPU and phases' time of what happens in the context, shared among the runs."""
    began, cpu_began = time.perf_counter(), time.process_time()
    watch = Stopwatch(states[0].config.device)
    yield watch
    spent = {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu_began,
        **watch.take(),
    }
    for state in states:
        for name, seconds in spent.items():
            state.seconds[name] += seconds / len(states)


def _warmup(state: TrainState) -> int:
    """Extra updates in the first epoch of a world model that knows nothing yet."""
    fresh = state.epoch == 0 and not state.config.init_world_model
    return state.config.wm_warmup_updates if fresh else 0


def collect(state: TrainState, acting: Acting) -> None:
    """`horizon` steps of every environment; the policy sees each real observation."""
    for _ in range(state.config.horizon):
        acting.noise = _explore(state, acting.noise)
        action = state.agent.act(acting.obs, acting.buffer.task, acting.noise).cpu().numpy()
        step = acting.envs.step(action)
        end = step.terminated | step.truncated
        acting.buffer.add(acting.obs, action, step.reward, step.final_obs, step.terminated, end)
        acting.obs = step.obs
        acting.episode_return += step.reward
        acting.episode_length += 1
        if count := int(end.sum()):
            ended = acting.episode_return[end], acting.episode_length[end]
            state.averages.add("train/episode_return", float(np.mean(ended[0])), count)
            state.averages.add("train/episode_length", float(np.mean(ended[1])), count)
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
        metrics["actor/return_scale"] = float(state.scale.std)
    is_best = _take_score(state, evaluations)
    return Report(state.epoch, state.env_steps, metrics, evaluations, state.score, is_best)


def _take_score(state: TrainState, evaluations: tuple[Evaluation, ...]) -> bool:
    """Whether this evaluation is the run's best, by its own mean.

    The score, a mean over the newest evaluations, says how a run stands, and patience waits for
    it. It would be no guide to the best weights: after a collapse it is still high.
    """
    if not evaluations:
        return False
    mean = float(np.mean([evaluation.mean for evaluation in evaluations]))
    state.recent_scores = [*state.recent_scores, mean][-SCORE_WINDOW:]
    assert state.score is not None
    state.evaluations_since_best += 1
    if state.best_score is None or state.score > state.best_score:
        state.best_score, state.evaluations_since_best = state.score, 0
    is_best = state.best_return is None or mean > state.best_return
    if is_best:
        state.best_return = mean
    return is_best
