"""What a configuration costs, from its sizes alone: parameters, FLOPs, velocity calls, memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flowpwm.agent import Agent
from flowpwm.config import RunConfig, env_steps_per_epoch
from flowpwm.integrators import nfe
from flowpwm.modes import MODES
from flowpwm.world_models.flow import FlowWorldModelConfig

FLOAT_BYTES = 4
# Resident memory of a worker before it holds any model: Python, torch, MuJoCo and Ray, measured
# at 0.35-0.45 GB on Linux with the CPU build of torch.
PROCESS_BYTES = 500 * 2**20
# Tensors that autograd keeps for each unit of each layer: input, pre-norm, normed, activated.
KEPT_PER_UNIT = 4


@dataclass(frozen=True)
class Cost:
    """nfe: velocity evaluations an environment step (0 for an MLP); sizes in bytes."""

    parameters: dict[str, int]
    nfe: int
    flops_per_epoch: float
    host_memory_bytes: int
    device_memory_bytes: int


def velocity_calls(config: RunConfig) -> int:
    """Velocity evaluations of one latent environment step; 0 where there is no velocity."""
    model = config.world_model
    if isinstance(model, FlowWorldModelConfig):
        return nfe(model.integrator, model.substeps)
    return 0


def estimate(config: RunConfig) -> Cost:
    """A first-order estimate: matrix products for FLOPs, kept tensors for memory."""
    with torch.device("meta"):
        parameters = Agent(config).parameter_counts()
    tasks, mode = config.covered_tasks, MODES[config.mode]
    calls = velocity_calls(config)
    evaluations = max(1, calls)
    wm_batch, horizon, imagined = config.wm_batch_size, config.horizon, config.actor_batch_size

    # A forward pass takes 2 FLOPs a weight and sample, a backward pass twice that.
    rolls_out = not isinstance(config.world_model, FlowWorldModelConfig) or (
        config.world_model.wm_rollout_weight > 0 or config.world_model.consistency == "rollout"
    )
    matching = 1 if calls else 0
    wm_dynamics = (evaluations if rolls_out else 0) + matching
    wm_update = (
        6
        * wm_batch
        * config.wm_steps
        * (parameters["encoder"] + parameters["reward"] + wm_dynamics * parameters["dynamics"])
    )
    # In the actor's update the world model only passes gradients through: 4 instead of 6.
    actor_update = (
        imagined
        * horizon
        * (
            4 * (evaluations * parameters["dynamics"] + parameters["reward"])
            + 6 * parameters["policy"]
        )
    )
    critic_phase = 6 * config.critic_iterations * imagined * horizon * parameters["critic"]
    acting = 2 * env_steps_per_epoch(config) * (parameters["encoder"] + parameters["policy"])
    flops = (
        mode.trains_world_model * config.wm_updates * wm_update
        + mode.trains_policy * config.actor_updates * (actor_update + critic_phase)
        + acting
    )

    model = config.world_model
    width = sum(model.units) + model.latent_dim
    kept = KEPT_PER_UNIT * FLOAT_BYTES / config.microbatches
    wm_width = width * (wm_dynamics + 1) + sum(model.encoder_units) + model.num_bins
    actor_width = width * (evaluations + 1) + sum(config.policy.units) + model.num_bins
    activations = kept * max(
        wm_batch * config.wm_steps * wm_width, imagined * horizon * actor_width
    )
    # A dataset is mapped, not held: its pages are the system's to drop.
    transitions = min(config.buffer_capacity, config.epochs * env_steps_per_epoch(config))
    buffer = transitions * (FLOAT_BYTES * (2 * tasks.obs_dim + tasks.action_dim + 1) + 2)
    weights = 4 * FLOAT_BYTES * parameters["total"]  # weights, gradients, two Adam moments
    # Saving a checkpoint copies the buffer once.
    on_device = weights + activations + buffer
    host = PROCESS_BYTES + (buffer if config.device == "cuda" else on_device + buffer)
    return Cost(
        parameters=parameters,
        nfe=calls,
        flops_per_epoch=float(flops),
        host_memory_bytes=int(host),
        device_memory_bytes=int(on_device) if config.device == "cuda" else 0,
    )
