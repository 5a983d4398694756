"""The smallest real runs: networks of 16 units, a handful of epochs, milliseconds each."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from flowpwm.compose import compose
from flowpwm.config import RunConfig
from flowpwm.envs import spec
from flowpwm.envs.tasks import TaskSet
from flowpwm.experience import Experience, Sequences
from flowpwm.report import Report
from flowpwm.state import TrainState
from flowpwm.train import train

SIZES = {
    "num_envs": 4,
    "horizon": 8,
    "epochs": 6,
    "report_every": 1,
    "evaluation.every": 3,
    "evaluation.episodes": 3,
    "wm_batch_size": 8,
    "wm_updates": 2,
    "wm_warmup_updates": 3,
    "actor_batch_size": 8,
    "critic_iterations": 1,
    "world_model.latent_dim": 16,
    "world_model.encoder_units": [16],
    "world_model.units": [16],
    "policy.units": [16],
    "critic.units": [16],
}
# Observations of 6, 5 and 24 numbers, actions of 2, 1 and 6.
# The cheapest of the suite, as the dataset of the tests holds them: 3, 5 and 6; 1, 1 and 2.
DATA_TASKS = "pendulum-swingup+cartpole-swingup+reacher-easy"
THREE_TASKS = "reacher-easy+cartpole-swingup+walker-stand"


def tiny(preset: str = "point-mass flow", **changes: object) -> RunConfig:
    """A run of `preset`; two underscores in a change's name stand for a dot."""
    return compose(preset, SIZES | {k.replace("__", "."): v for k, v in changes.items()})


def run(config: RunConfig, state: TrainState | None = None) -> tuple[TrainState, list[Report]]:
    """Train to the end."""
    state = state or TrainState.start(config)
    return state, list(train(state))


def weights(state: TrainState) -> list[torch.Tensor]:
    return [p.detach().clone() for p in state.agent.parameters()]


def science(report: Report) -> dict[str, float]:
    """Everything but clocks and memory."""
    return {
        k: v for k, v in report.metrics.items() if k.split("/")[0] not in ("time", "rate", "memory")
    }


class Doubled:
    """The same experience in 64-bit floats."""

    def __init__(self, experience: Experience):
        self.experience = experience

    def sample(self, batch: int, horizon: int, generator: torch.Generator) -> Sequences:
        sequences = self.experience.sample(batch, horizon, generator)
        return Sequences(*(x.double() if x.is_floating_point() else x for x in sequences))

    def sample_obs(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        obs, task = self.experience.sample_obs(batch, generator)
        return obs.double(), task

    def __len__(self) -> int:
        return len(self.experience)


def tasks_of(*sizes: tuple[int, int], terminates: bool = False) -> TaskSet:
    """Made-up tasks of given observation and action sizes: enough to size networks."""
    point_mass = spec("point-mass")
    specs = tuple(
        dataclasses.replace(
            point_mass,
            name=f"task-{i}",
            layout=(("all", obs_dim),),
            action_dim=action_dim,
            terminates=terminates,
        )
        for i, (obs_dim, action_dim) in enumerate(sizes)
    )
    return TaskSet(tuple(spec.name for spec in specs), specs)


def one_task(batch: int) -> torch.Tensor:
    """The ids of `batch` samples of the first task."""
    return torch.zeros(batch, dtype=torch.int64)
