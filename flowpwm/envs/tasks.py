"""Sets of tasks that one model serves: their order, the widest sizes, which actions are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool

from flowpwm.envs import MT30, TaskSpec, spec

# Named sets; the order is that of the published data and weights, whose task ids it gives.
TASK_SETS: Mapping[str, tuple[str, ...]] = {"mt30": MT30}


@dataclass(frozen=True)
class TaskSet:
    """One or more tasks in a fixed order; a task's index in it is its id."""

    names: tuple[str, ...]
    specs: tuple[TaskSpec, ...]

    @property
    def obs_dim(self) -> int:
        """Numbers in an observation of the widest task; those of others are padded with 0."""
        return max(spec.obs_dim for spec in self.specs)

    @property
    def action_dim(self) -> int:
        """Components of the widest task's action."""
        return max(spec.action_dim for spec in self.specs)

    @property
    def terminates(self) -> bool:
        """Whether an episode of any task can end before its length."""
        return any(spec.terminates for spec in self.specs)

    def index(self, task: str) -> int:
        """The id of a task. Raises ValueError where it is none of these."""
        if task not in self.names:
            raise ValueError(f"{task} is not one of the {len(self)} tasks {', '.join(self.names)}")
        return self.names.index(task)

    def action_mask(self) -> Bool[np.ndarray, "N A"]:
        """Which components of the widest action each task has."""
        sizes = np.array([spec.action_dim for spec in self.specs])
        return np.arange(self.action_dim) < sizes[:, None]

    def __len__(self) -> int:
        """Tasks in the set."""
        return len(self.names)


@cache
def task_set(name: str) -> TaskSet:
    """The set that `name` means: a named set, a task, or tasks joined by '+'.

    Raises UnknownTask for a part that is no task, ValueError for one that is there twice.
    """
    names = TASK_SETS.get(name) or tuple(name.split("+"))
    if len(set(names)) < len(names):
        raise ValueError(f"task {name!r} names a task twice")
    return TaskSet(names, tuple(spec(task) for task in names))
