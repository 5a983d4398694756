"""Environments: `make(task, num_envs, seed)` builds one of the tasks of the table `ENVS`.

A new task is one `TaskSpec` entry: its sizes, and a `build` that returns a `VectorEnv`.
"""

from __future__ import annotations

import difflib

import numpy as np

from flowpwm.envs import cartpole, cheetah, pendulum, point_mass, reacher, walker
from flowpwm.envs.base import SimulationFailed, Step, TaskSpec, UnknownTask, VectorEnv

__all__ = [
    "ENVS",
    "SimulationFailed",
    "Step",
    "TaskSpec",
    "UnknownTask",
    "VectorEnv",
    "make",
    "spec",
]

_MODULES = (point_mass, pendulum, cartpole, reacher, walker, cheetah)

ENVS: dict[str, TaskSpec] = {entry.name: entry for module in _MODULES for entry in module.SPECS}


def spec(task: str) -> TaskSpec:
    """What is known of `task` without building it.

    Raises:
      UnknownTask: no such task; the message lists the known ones.
    """
    if task not in ENVS:
        close = difflib.get_close_matches(task, ENVS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownTask(f"unknown task {task!r}; known: {', '.join(ENVS)}.{hint}")
    return ENVS[task]


def make(task: str, num_envs: int, seed: int, num_threads: int = 1) -> VectorEnv:
    """`num_envs` environments of `task`, simulated on `num_threads` threads.

    The number of threads changes the speed, never a result. Call `reset` before `step`.

    Raises:
      UnknownTask: no such task.
      ValueError: `num_envs` or `num_threads` below 1, or a negative `seed`.
    """
    entry = spec(task)
    for name, value, low in (("num_envs", num_envs, 1), ("num_threads", num_threads, 1)):
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return entry.build(entry, num_envs, np.random.default_rng(seed), num_threads)
