"""What several test modules share: a task that ends where it goes wrong, and a small dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flowpwm.compose import presets
from flowpwm.datasets import convert
from flowpwm.datasets.record import Recording, record
from flowpwm.envs import ENVS
from flowpwm.envs.base import TaskSpec
from flowpwm.envs.point_mass import PointMass
from flowpwm.envs.tasks import task_set
from tests.flowpwm.tiny import DATA_TASKS

DEADLY = 0.8


class MortalMass(PointMass):
    """A point mass that does not survive coming close to a wall of its box."""

    def _advance(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reward, _ = super()._advance(action)
        return reward, (np.abs(self._position) >= DEADLY).any(axis=1)


def _build(spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int) -> MortalMass:
    del num_threads
    return MortalMass(spec, num_envs, rng)


@pytest.fixture
def mortal_mass(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The task's name; it is in the table for the length of a test."""
    name = "mortal-mass"
    task = dataclasses.replace(ENVS["point-mass"], name=name, terminates=True, build=_build)
    monkeypatch.setitem(ENVS, name, task)
    for made_from_the_table in (presets, task_set):
        made_from_the_table.cache_clear()
    yield name
    for made_from_the_table in (presets, task_set):
        made_from_the_table.cache_clear()


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of each of DATA_TASKS, played at random and converted."""
    folder = tmp_path_factory.mktemp("dataset")
    players = {task: [] for task in DATA_TASKS.split("+")}
    record(folder / "chunks", players, Recording(task_set=DATA_TASKS, episodes=3, num_envs=3))
    convert(folder / "chunks", folder / "converted", DATA_TASKS)
    return folder / "converted"
