"""Environments: `make(task, num_envs, seed)` builds one of the tasks of the table `ENVS`.

A new task comes in by one of two ways:

* Built in: a module with `SPECS`, listed in `_MODULES`. A `TaskSpec` names the task and its sizes
  and has a `build` that returns a `VectorEnv`. Tasks of the control suite need a `SuiteTask` only
  (`control_suite.py`); one with other physics is a `VectorEnv` of its own (`point_mass.py`). The
  contract tests run over the table, so listing a task is testing it. Families that need packages
  of their own, such as Meta-World, whose releases want another MuJoCo than dm_control's, fit in the
  same way if `build` imports them: entries are read without building anything.
* From outside, without a change here: `task="module:Class"` names a Gymnasium vector environment.
  What it must be is told in `gymnasium_adapter.py`; it needs the extra `gym`.
"""

from __future__ import annotations

import difflib
import importlib.util

import numpy as np

from flowpwm.envs import (
    acrobot,
    ant,
    ball_in_cup,
    cartpole,
    cheetah,
    finger,
    fish,
    hopper,
    pendulum,
    point_mass,
    reacher,
    walker,
)
from flowpwm.envs.base import SimulationFailed, Step, TaskSpec, UnknownTask, VectorEnv
from flowpwm.envs.mt30 import MT30

__all__ = [
    "ENVS",
    "MT30",
    "SimulationFailed",
    "Step",
    "TaskSpec",
    "UnknownTask",
    "VectorEnv",
    "make",
    "spec",
]

_MODULES = (
    point_mass,
    pendulum,
    cartpole,
    acrobot,
    reacher,
    ball_in_cup,
    finger,
    fish,
    hopper,
    walker,
    cheetah,
    ant,
)

ENVS: dict[str, TaskSpec] = {entry.name: entry for module in _MODULES for entry in module.SPECS}


def spec(task: str) -> TaskSpec:
    """What is known of `task`; a "module:Class" is built once with one environment to learn it.

    Raises:
      UnknownTask: no such task; the message lists the known ones.
      ValueError: "module:Class" is no vector environment of a kind that can be trained on.
    """
    if ":" in task:
        return _users_own(task)
    if task not in ENVS:
        close = difflib.get_close_matches(task, ENVS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownTask(f"unknown task {task!r}; known: {', '.join(ENVS)}.{hint}")
    return ENVS[task]


def make(
    task: str,
    num_envs: int,
    seed: int,
    num_threads: int = 1,
    reward_timing: str = "post_step",
) -> VectorEnv:
    """`num_envs` environments of `task`, simulated on `num_threads` threads.

    The number of threads changes the speed, never a result. Call `reset` before `step`.

    Raises:
      UnknownTask: no such task.
      ValueError: `num_envs` or `num_threads` below 1, a negative `seed`, a `reward_timing` that
        the task does not offer, or a user's environment that does not fit.
    """
    entry = spec(task).with_reward_timing(reward_timing)
    for name, value, low in (("num_envs", num_envs, 1), ("num_threads", num_threads, 1)):
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    return entry.build(entry, num_envs, np.random.default_rng(seed), num_threads)


def _users_own(task: str) -> TaskSpec:
    if importlib.util.find_spec("gymnasium") is None:
        raise UnknownTask(f"task {task!r} needs Gymnasium: pip install 'flowpwm[gym]'")
    # an extra that only tasks from outside need
    from flowpwm.envs.gymnasium_adapter import gymnasium_spec

    return gymnasium_spec(task)
