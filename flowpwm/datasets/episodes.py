"""Episodes of one task, taken out of a chunk with every number looked at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from flowpwm.datasets.chunks import Chunk
from flowpwm.datasets.errors import DatasetError
from flowpwm.envs import MT30, TaskSpec

# Rounding of float32 sums.
_TOLERANCE = 1e-3

Taken = tuple[
    Float32[np.ndarray, "n T o"], Float32[np.ndarray, "n S a"], Float32[np.ndarray, "n S"]
]


def take(
    path: Path,
    chunk: Chunk,
    episodes: Int64[np.ndarray, " n"],
    spec: TaskSpec,
    ignore_action_padding: bool = False,
) -> Taken:
    """obs, action and reward of `episodes` of a task, in its own widths and without row 0's NaN.

    Copies these episodes only. Raises DatasetError naming the first number that is not finite, not
    zero where it should be padding, an action beyond [-1, 1] or a reward that the task cannot pay;
    or a whole episode whose row 0 holds an action, as if rows held what was done in them.
    """
    obs = chunk.obs.numpy()[episodes]
    action = chunk.action.numpy()[episodes, 1:]
    reward = chunk.reward.numpy()[episodes, 1:]

    def refuse(name: str, values: np.ndarray, wrong: np.ndarray, expected: str) -> None:
        if not wrong.any():
            return
        at = np.unravel_index(int(wrong.argmax()), wrong.shape)
        row = int(at[1]) + chunk.task.shape[1] - values.shape[1]
        column = f"[{at[2]}]" if len(at) == 3 else ""
        raise DatasetError(
            f"{path}: episode {episodes[at[0]]} ({spec.name}), row {row}: "
            f"{name}{column} is {values[at]}; expected {expected}"
        )

    if obs.shape[1] == spec.episode_length + 1:  # of pieces of episodes it is not known
        led_in = chunk.action.numpy()[episodes, 0, 0]
        if not np.isnan(led_in).all():
            i = int((~np.isnan(led_in)).argmax())
            raise DatasetError(
                f"{path}: episode {episodes[i]} ({spec.name}), row 0: action[0] is {led_in[i]}; "
                "expected NaN, since nothing led into the first observation"
            )
    refuse("obs", obs, ~np.isfinite(obs), "a finite number")
    refuse("obs", obs, _beyond(obs, spec.obs_dim), f"0 beyond the task's {spec.obs_dim} numbers")
    refuse("action", action, ~np.isfinite(action), "a finite number below row 0")
    own = action[..., : spec.action_dim]
    refuse("action", own, np.abs(own) > 1 + _TOLERANCE, "a number in [-1, 1]")
    if not ignore_action_padding:
        refuse(
            *("action", action, _beyond(action, spec.action_dim)),
            f"0 beyond the task's {spec.action_dim} components",
        )
    low, high = _reward_range(spec)
    wrong = ~np.isfinite(reward) | (reward < low - _TOLERANCE) | (reward > high + _TOLERANCE)
    refuse("reward", reward, wrong, f"a number in [{low:g}, {high:g}] below row 0")
    return obs[..., : spec.obs_dim], action[..., : spec.action_dim], reward


def _beyond(values: np.ndarray, width: int) -> np.ndarray:
    wrong = values != 0
    wrong[..., :width] = False
    return wrong


def _reward_range(spec: TaskSpec) -> tuple[float, float]:
    # Tasks of this set pay at most 1 a control step: the bounds of a return are those of a step
    # times the length, which is not so for tasks in general.
    if spec.name in MT30:
        return spec.return_low / spec.episode_length, spec.return_high / spec.episode_length
    return -math.inf, math.inf
