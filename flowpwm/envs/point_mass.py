"""A point mass that drives itself to the origin: a small task for learning tests, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from flowpwm.envs.base import Ids, TaskSpec, VectorEnv

_DT = 0.1
_ACCELERATION = 4.0
_DAMPING = 0.5
_REWARD_SCALE = 0.25


class PointMass(VectorEnv):
    """A damped double integrator in the box [-1, 1]^2, observed as [x, y, v_x, v_y].

    With action a, one step of 0.1 s is semi-implicit Euler, componentwise:

        v <- v + 0.1 (4 a - 0.5 v)
        x <- x + 0.1 v, clipped to the box; a component that hits a wall loses its velocity

    Reward, in (0, 1]: 1 / (1 + (|x| / 0.25)^2) at the position reached. It falls off slowly
    enough to have a slope everywhere. Start: uniform in the box, at rest. Never terminates;
    64 steps make an episode, so no return exceeds 64.
    """

    def __init__(self, spec: TaskSpec, num_envs: int, rng: np.random.Generator) -> None:
        super().__init__(spec, num_envs, rng)
        self._position = np.zeros((num_envs, 2))
        self._velocity = np.zeros((num_envs, 2))

    def _initialize(self, ids: Ids) -> None:
        self._position[ids] = self._rng.uniform(-1.0, 1.0, (ids.size, 2))
        self._velocity[ids] = 0.0

    def _advance(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        self._velocity += _DT * (_ACCELERATION * action - _DAMPING * self._velocity)
        self._position += _DT * self._velocity
        self._velocity[np.abs(self._position) > 1.0] = 0.0
        np.clip(self._position, -1.0, 1.0, out=self._position)
        distance_squared = np.square(self._position).sum(axis=1)
        reward = 1.0 / (1.0 + distance_squared / _REWARD_SCALE**2)
        return reward, np.zeros(self.num_envs, bool)

    def _observe(self) -> Float64[np.ndarray, "B O"]:
        return np.concatenate((self._position, self._velocity), axis=1)

    def _simulation_state(self) -> dict[str, Any]:
        return {"position": self._position.copy(), "velocity": self._velocity.copy()}

    def _load_simulation_state(self, state: Mapping[str, Any]) -> None:
        self._position[:] = state["position"]
        self._velocity[:] = state["velocity"]


def _build(spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int) -> PointMass:
    del num_threads  # a few array operations: nothing to spread over threads
    return PointMass(spec, num_envs, rng)


SPECS = (
    TaskSpec(
        name="point-mass",
        layout=(("position", 2), ("velocity", 2)),
        action_dim=2,
        episode_length=64,
        return_low=0.0,
        return_high=64.0,
        threshold=50.0,
        build=_build,
    ),
)
