"""What an epoch has to compute, phase by phase, from the sizes of a configuration alone.

Counted are the three things that take time: the products of matrices, the numbers that layers put
out, which cost memory traffic, and the layers that wait for one another, which cost a kernel's
start however little they do. How fast a machine does each is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flowpwm.config import RunConfig
from flowpwm.integrators import nfe
from flowpwm.modes import MODES
from flowpwm.policies import FlowPolicyConfig
from flowpwm.world_models.flow import FlowWorldModelConfig

# Passes of a layer: forward alone; with a backward pass that only hands gradients through; with
# one that forms those of the weights too.
FORWARD, THROUGH, TRAINED = 1, 2, 3


class Work(NamedTuple):
    """`flops` of matrix products, `numbers` put out by layers, `calls` of layers in a row."""

    flops: float = 0.0
    numbers: float = 0.0
    calls: float = 0.0

    def plus(self, *others: Work) -> Work:
        """All of it."""
        return Work(*(sum(parts) for parts in zip(self, *others, strict=True)))

    def times(self, count: float) -> Work:
        """The same again and again."""
        return Work(*(count * part for part in self))


class Phases(NamedTuple):
    """The work of one epoch, and of one evaluation; named as a run's clock names its phases."""

    environment: Work
    world_model: Work
    actor: Work
    critic: Work
    evaluation: Work

    @property
    def epoch(self) -> Work:
        """All of an epoch without an evaluation."""
        return Work().plus(*self[:4])


class _Network(NamedTuple):
    """Parameters and layer widths of one network."""

    parameters: int
    widths: Sequence[int]

    def on(self, rows: int, passes: int, in_a_row: int = 1) -> Work:
        """`rows` inputs at a time, `in_a_row` times one after another; nothing if it is absent."""
        if not self.parameters:
            return Work()
        flops = 2 * self.parameters * rows
        return Work(flops, sum(self.widths) * rows, len(self.widths)).times(passes * in_a_row)


def velocity_calls(config: RunConfig) -> int:
    """Velocity evaluations of one latent environment step; 0 where there is no velocity."""
    model = config.world_model
    if isinstance(model, FlowWorldModelConfig):
        return nfe(model.integrator, model.substeps)
    return 0


def rolls_out(config: RunConfig) -> bool:
    """Whether the world model's loss rolls its dynamics out; an MLP's always does."""
    model = config.world_model
    return not isinstance(model, FlowWorldModelConfig) or (
        model.wm_rollout_weight > 0 or model.consistency == "rollout"
    )


def phases(config: RunConfig, parameters: Mapping[str, int]) -> Phases:
    """The work of a configuration whose networks have these `parameters` (of `cost.estimate`)."""
    model, policy, critic = config.world_model, config.policy, config.critic
    tasks, mode = config.covered_tasks, MODES[config.mode]
    encoder = _Network(parameters["encoder"], (*model.encoder_units, model.latent_dim))
    dynamics = _Network(parameters["dynamics"], (*model.units, model.latent_dim))
    reward = _Network(parameters["reward"], (*model.units, model.num_bins))
    actor = _Network(parameters["policy"], (*policy.units, tasks.action_dim))
    value = _Network(parameters["critic"], (*critic.units, 1) * critic.members)
    decoder = _Network(parameters["decoder"], (tasks.obs_dim,))
    inverse = _Network(parameters["inverse"], (*model.units, tasks.action_dim))
    final = _Network(parameters["continuation"], (*model.units, 1))
    flow = velocity_calls(config)
    step = max(1, flow)  # calls of the dynamics for one environment step
    choice = nfe(policy.integrator, policy.substeps) if isinstance(policy, FlowPolicyConfig) else 1

    rows, parts = config.wm_batch_size * config.wm_steps, config.microbatches
    update = Work().plus(
        encoder.on(rows + config.wm_batch_size, TRAINED),
        encoder.on(rows, FORWARD) if model.target_momentum else Work(),
        reward.on(rows, TRAINED),
        decoder.on(rows, TRAINED),
        inverse.on(rows, TRAINED),
        final.on(rows, TRAINED),
        # Flow matching asks for all transitions at once; a rollout for one step after another.
        dynamics.on(rows, TRAINED) if flow else Work(),
        dynamics.on(config.wm_batch_size, TRAINED, config.wm_steps * step)
        if rolls_out(config)
        else Work(),
    )
    imagined, horizon = config.actor_batch_size, config.horizon
    improve = Work().plus(
        encoder.on(imagined, FORWARD),
        actor.on(imagined, TRAINED, horizon * choice),
        dynamics.on(imagined, THROUGH, horizon * step),
        reward.on(imagined * horizon, THROUGH),
        final.on(imagined * horizon, THROUGH),
        value.on(imagined, THROUGH),
        value.on(imagined * (horizon + 1), FORWARD),
    )
    minibatch = value.on(imagined * horizon // config.critic_minibatches, TRAINED)
    act = encoder.on(config.num_envs, FORWARD).plus(actor.on(config.num_envs, FORWARD, choice))
    playing = config.evaluation.episodes * len(config.task_names)
    play = encoder.on(playing, FORWARD).plus(actor.on(playing, FORWARD, choice))
    return Phases(
        environment=act.times(horizon if mode.online else 0),
        world_model=_in_parts(update, parts).times(
            config.wm_updates if mode.trains_world_model else 0
        ),
        actor=_in_parts(improve, parts).times(config.actor_updates if mode.trains_policy else 0),
        critic=minibatch.times(
            config.critic_iterations * config.critic_minibatches * config.actor_updates
            if mode.trains_policy
            else 0
        ),
        evaluation=play.times(episode_steps(config) if mode.trains_policy else 0),
    )


def episode_steps(config: RunConfig) -> int:
    """Environment steps of the longest episode of the run's tasks."""
    return max(
        spec.episode_length for spec in config.covered_tasks.specs if spec.name in config.task_names
    )


def _in_parts(work: Work, parts: int) -> Work:
    # Every part of a batch goes through every layer.
    return work._replace(calls=work.calls * parts)
