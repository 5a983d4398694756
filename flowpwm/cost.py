"""What a configuration costs, from its sizes alone: parameters, work, memory, checkpoints."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import torch

from flowpwm.agent import Agent
from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig, env_steps_per_epoch
from flowpwm.work import Phases, phases, rolls_out, velocity_calls

__all__ = ["Cost", "estimate", "velocity_calls"]

FLOAT_BYTES = 4
# Resident memory of a worker before it holds any model: Python, torch, MuJoCo and Ray, measured
# at 0.35-0.45 GB on Linux with the CPU build of torch.
PROCESS_BYTES = 500 * 2**20
# Tensors that autograd keeps for each unit of each layer: input, pre-norm, normed, activated.
KEPT_PER_UNIT = 4


# Of a GPU: seconds to start the kernels of a layer, and for a FLOP. Guesses from data sheets and
# typical kernel starts: only a measurement makes them worth anything.
GPU_CALL_S, GPU_FLOP_S = 4e-5, 5e-14
MOST_SEEDS_AT_ONCE = 8  # so that what ends one process does not end all of a comparison


@dataclass(frozen=True)
class Cost:
    """nfe: velocity evaluations an environment step (0 for an MLP); sizes in bytes.

    `checkpoint_bytes` is what a run's checkpoints hold once its buffer is full: the last and the
    best one, each with the one before it. `kept_bytes` is what is left of them when it has ended:
    the networks of both.
    """

    parameters: dict[str, int]
    nfe: int
    work: Phases
    host_memory_bytes: int
    device_memory_bytes: int
    checkpoint_bytes: int
    kept_bytes: int

    def host_bytes_of(self, runs: int) -> int:
        """Of one process that trains several runs of this configuration."""
        return PROCESS_BYTES + runs * (self.host_memory_bytes - PROCESS_BYTES)

    @property
    def flops_per_epoch(self) -> float:
        """Of matrix products, without evaluations."""
        return self.work.epoch.flops


def estimate(config: RunConfig) -> Cost:
    """A first-order estimate: matrix products for FLOPs, kept tensors for memory.

    Raises ConfigError for networks larger than any can be.
    """
    return _estimate(dataclasses.replace(config, seed=0))  # the same for every seed


@lru_cache(maxsize=4096)
def _estimate(config: RunConfig) -> Cost:
    try:
        with torch.device("meta"):
            parameters = Agent(config).parameter_counts()
    except (RuntimeError, OverflowError) as error:  # sizes beyond what a tensor can be
        raise ConfigError(f"networks of these sizes cannot be built: {error}") from error
    weights = FLOAT_BYTES * parameters["total"]
    buffer = _buffer_bytes(config)
    # A dataset is mapped, not held: its pages are the system's to drop. Saving a checkpoint copies
    # the buffer once.
    on_device = 4 * weights + _activation_bytes(config) + buffer  # gradients, two Adam moments
    host = PROCESS_BYTES + (buffer if config.device == "cuda" else on_device + buffer)
    last, best = 3 * weights + buffer, weights
    return Cost(
        parameters=parameters,
        nfe=velocity_calls(config),
        work=phases(config, parameters),
        host_memory_bytes=int(host),
        device_memory_bytes=int(on_device) if config.device == "cuda" else 0,
        checkpoint_bytes=int(2 * (last + best)),
        kept_bytes=int(2 * weights),
    )


def seeds_that_pay(config: RunConfig, cost: Cost, device_bytes: int) -> int:
    """How many seeds of a configuration are worth training as one program (`flowpwm.together`).

    A GPU that is busy with starting kernels starts as many for several seeds as for one: they pay
    until their products of matrices take as long as the starts, and while they fit into so many
    bytes (0: not known). A CPU has no such idle time: what it saves (benchmarks/RESULTS.md) does
    not outweigh that seeds of one process cannot spread over cores.
    """
    if config.device != "cuda" or config.recompute:
        return 1
    epoch = cost.work.epoch
    pay = int(epoch.calls * GPU_CALL_S / max(1e-9, epoch.flops * GPU_FLOP_S))
    if device_bytes:
        pay = min(pay, int(device_bytes // max(1, cost.device_memory_bytes)))
    return max(1, min(MOST_SEEDS_AT_ONCE, pay))


def fitting(config: RunConfig, device_bytes: int) -> RunConfig:
    """`config`, made to recompute its rollouts where a device of so much memory is too small else.

    One more forward pass of each step; a batch in two parts would be twice as many kernels.
    """
    if config.device == "cuda" and estimate(config).device_memory_bytes > device_bytes:
        return dataclasses.replace(config, recompute=True)
    return config


def _buffer_bytes(config: RunConfig) -> float:
    tasks = config.covered_tasks
    transitions = min(config.buffer_capacity, config.epochs * env_steps_per_epoch(config))
    return transitions * (FLOAT_BYTES * (2 * tasks.obs_dim + tasks.action_dim + 1) + 2)


def _activation_bytes(config: RunConfig) -> float:
    """Of the larger of both updates."""
    model, calls = config.world_model, velocity_calls(config)

    def rollout(steps: int) -> float:
        # Recomputed, a rollout keeps the insides of one step at a time.
        return max(1, calls) / (steps if config.recompute else 1)

    wm_dynamics = (rollout(config.wm_steps) if rolls_out(config) else 0) + (1 if calls else 0)
    width = sum(model.units) + model.latent_dim
    wm_width = width * (wm_dynamics + 1) + sum(model.encoder_units) + model.num_bins
    imagined = rollout(config.horizon) + 1
    actor_width = width * imagined + sum(config.policy.units) + model.num_bins
    kept = KEPT_PER_UNIT * FLOAT_BYTES / config.microbatches
    return kept * max(
        config.wm_batch_size * config.wm_steps * wm_width,
        config.actor_batch_size * config.horizon * actor_width,
    )
