"""A dataset on disk as what training samples from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from flowpwm.datasets.arrays import open_arrays
from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.manifest import Manifest, read_manifest
from flowpwm.envs.tasks import TaskSet
from flowpwm.experience import Sequences


def open_dataset(
    path: Path, task_set: TaskSet, tasks: tuple[str, ...], device: torch.device | str
) -> OfflineDataset:
    """The transitions of `tasks`, padded to the widths of `task_set` and with its task ids.

    Raises DatasetError where the folder holds no dataset, or other tasks or arrays than these.
    """
    manifest = described(path, task_set, tasks)
    opened = []
    for name, summary in manifest.tasks.items():
        arrays = open_arrays(path / name, summary)
        flat = (array.reshape(-1, *array.shape[2:]) for array in arrays)
        opened.append(_Task(task_set.index(name), summary.steps, *map(np.asarray, flat)))
    return OfflineDataset(path, manifest, task_set, opened, torch.device(device))


def described(path: Path, task_set: TaskSet, tasks: tuple[str, ...]) -> Manifest:
    """What a folder says of `tasks`; no array is opened.

    Raises DatasetError where it holds no dataset, other tasks, or tasks of other sizes.
    """
    manifest = read_manifest(path).only(tasks, path)
    for name, summary in manifest.tasks.items():
        spec = task_set.specs[task_set.index(name)]
        for what in ("obs_dim", "action_dim"):
            if getattr(summary, what) != getattr(spec, what):
                raise DatasetError(
                    f"{path}: {what} of {name} is {getattr(summary, what)}; "
                    f"expected {getattr(spec, what)}"
                )
    return manifest


class _Task(NamedTuple):
    """The mapped arrays of a task, its episodes one after the other."""

    id: int
    steps: int
    obs: Float32[np.ndarray, "rows o"]
    action: Float32[np.ndarray, "transitions a"]
    reward: Float32[np.ndarray, " transitions"]


class _Drawn(NamedTuple):
    """Start transitions, and which of the batch belong to which task."""

    task: Int64[np.ndarray, " B"]
    start: Int64[np.ndarray, " B"]  # among the task's own transitions
    episode: Int64[np.ndarray, " B"]
    left: Int64[np.ndarray, " B"]  # steps to the episode's end, at least 1
    by_task: Sequence[tuple[_Task, slice | np.ndarray]]


class OfflineDataset:
    """Whole episodes in memory-mapped arrays; an `Experience`. Made by `open_dataset`.

    The system keeps in memory what is used and gives it up where memory is short. No episode
    terminates: they end because their time is over.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        task_set: TaskSet,
        opened: list[_Task],
        device: torch.device,
    ):
        self.path, self.manifest, self.device = path, manifest, device
        self.obs_dim, self.action_dim = task_set.obs_dim, task_set.action_dim
        self._tasks = opened
        self._ids = np.array([task.id for task in opened])
        self._steps = np.array([task.steps for task in opened])
        # The transitions of all tasks are numbered through; here each task's begin.
        self._begin = np.cumsum([0] + [len(task.reward) for task in opened])

    def __len__(self) -> int:
        """Transitions held."""
        return int(self._begin[-1])

    def sample(self, batch: int, horizon: int, generator: torch.Generator) -> Sequences:
        """`batch` sequences of up to `horizon` steps, their starts uniform over all transitions.

        Steps after an episode's end are masked; they repeat its last one.
        """
        drawn = self._draw(batch, generator)
        # an episode has one observation more than steps
        ahead = np.arange(horizon + 1)[:, None]
        obs_rows = drawn.start + drawn.episode + np.minimum(ahead, drawn.left)
        rows = drawn.start + np.minimum(ahead[:-1], drawn.left - 1)
        obs = self._zeros(horizon + 1, batch, self.obs_dim)
        action = self._zeros(horizon, batch, self.action_dim)
        reward = self._zeros(horizon, batch)
        for task, own in drawn.by_task:
            obs.numpy()[:, own, : task.obs.shape[1]] = task.obs.take(obs_rows[:, own], axis=0)
            action.numpy()[:, own, : task.action.shape[1]] = task.action.take(rows[:, own], axis=0)
            reward.numpy()[:, own] = task.reward.take(rows[:, own])
        return Sequences(
            obs=self._moved(obs),
            action=self._moved(action),
            reward=self._moved(reward),
            terminated=torch.zeros(horizon, batch, dtype=torch.bool, device=self.device),
            mask=self._moved(torch.from_numpy(ahead[:-1] < drawn.left)),
            task=self._moved(torch.from_numpy(drawn.task)),
        )

    def sample_obs(
        self, batch: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B O"], Int64[Tensor, " B"]]:
        """`batch` observations in which an action was taken, uniformly, and their task ids."""
        drawn = self._draw(batch, generator)
        obs, rows = self._zeros(batch, self.obs_dim), drawn.start + drawn.episode
        for task, own in drawn.by_task:
            obs.numpy()[own, : task.obs.shape[1]] = task.obs.take(rows[own], axis=0)
        return self._moved(obs), self._moved(torch.from_numpy(drawn.task))

    def state_dict(self) -> dict[str, Any]:
        """Which data these are."""
        return {"dataset": self.manifest.identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing changes. Raises DatasetError where the state is of other data."""
        if state.get("dataset") != self.manifest.identity():
            raise DatasetError(f"{self.path}: not the data that the saved run was trained on")

    def _draw(self, batch: int, generator: torch.Generator) -> _Drawn:
        numbers = torch.randint(len(self), (batch,), generator=generator, device=generator.device)
        number = numbers.cpu().numpy()
        which = np.searchsorted(self._begin, number, side="right") - 1
        start, steps = number - self._begin[which], self._steps[which]
        episode, step = np.divmod(start, steps)
        if len(self._tasks) == 1:
            by_task = [(self._tasks[0], slice(None))]
        else:
            by_task = [(self._tasks[i], np.flatnonzero(which == i)) for i in np.unique(which)]
        return _Drawn(self._ids[which], start, episode, steps - step, by_task)

    def _zeros(self, *shape: int) -> Tensor:
        # Pages that do not move can be copied to a GPU while the program goes on.
        return torch.zeros(shape, pin_memory=self.device.type == "cuda")

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)
