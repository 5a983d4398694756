"""The contract of an environment: many simulations of one task behind a vectorised interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

Ids = Int[np.ndarray, " n"]
State = dict[str, Any]


class UnknownTask(ValueError):
    """A task name that is not in the table; the message lists the names that are."""


class SimulationFailed(RuntimeError):
    """The simulator failed in some environments; the message names the task and their ids."""


class Step(NamedTuple):
    """What `VectorEnv.step` returns; the arrays are the caller's, never written again.

    `obs` is where the next action is chosen: the first observation of the next episode where one
    ended. `final_obs` is the observation the action led to, before any reset: what a transition
    stores and what a truncated one bootstraps from.
    """

    obs: Float32[np.ndarray, "B O"]
    reward: Float32[np.ndarray, " B"]
    terminated: Bool[np.ndarray, " B"]
    truncated: Bool[np.ndarray, " B"]
    final_obs: Float32[np.ndarray, "B O"]


@dataclass(frozen=True)
class TaskSpec:
    """What is known of a task without building its simulator.

    Lengths count environment steps. `return_low` and `return_high` bound an episode's return;
    a return of at least `threshold` counts as solved: for the suite's tasks about a tenth below
    what published agents end at, a choice of ours. `layout` names the parts of an
    observation in order, with their sizes. `terminates` says whether an episode can end before
    its length.

    `reward_timings` are those the task offers, the first being the one in force: "post_step" pays
    for the state that an action led to, "pre_step" for the state it was chosen in.
    """

    name: str
    layout: tuple[tuple[str, int], ...]
    action_dim: int
    episode_length: int
    return_low: float
    return_high: float
    threshold: float
    build: Callable[[TaskSpec, int, np.random.Generator, int], VectorEnv]
    action_repeat: int = 1
    reward_timings: tuple[str, ...] = ("post_step",)
    terminates: bool = False

    @property
    def obs_dim(self) -> int:
        """Numbers in one observation."""
        return sum(size for _, size in self.layout)

    def with_reward_timing(self, timing: str) -> TaskSpec:
        """The same task with that timing in force.

        Raises:
          ValueError: the task does not offer it; the message lists what it does.
        """
        if timing not in self.reward_timings:
            known = ", ".join(self.reward_timings)
            raise ValueError(
                f"{self.name}: reward_timing {timing!r} is not offered; known: {known}"
            )
        others = tuple(other for other in self.reward_timings if other != timing)
        return replace(self, reward_timings=(timing, *others))


class VectorEnv(ABC):
    """`num_envs` simulations of one task that step together and reset on their own.

    A subclass gives the dynamics; counting steps, clipping actions, truncating, resetting and
    saving are the same for all and live here. All randomness comes from the one generator, drawn
    in the order of the calls, so the same seed and actions give the same bits.
    """

    def __init__(self, spec: TaskSpec, num_envs: int, rng: np.random.Generator) -> None:
        self.spec = spec
        self.num_envs = num_envs
        self.obs_dim = spec.obs_dim
        self.action_dim = spec.action_dim
        self.episode_length = spec.episode_length
        self._rng = rng
        self._elapsed = np.zeros(num_envs, np.int64)
        self._started = False
        self._closed = False

    def reset(self) -> Float32[np.ndarray, "B O"]:
        """Start a new episode in every environment; the generator is not rewound."""
        self._check_open()
        self._initialize(np.arange(self.num_envs))
        self._elapsed[:] = 0
        self._started = True
        return self._observe().astype(np.float32)

    def step(self, action: Float[np.ndarray, "B A"]) -> Step:
        """Advance every environment by one step; actions are clipped to [-1, 1].

        Raises:
          ValueError: an action of the wrong shape or not finite.
          RuntimeError: before the first `reset` or `load_state_dict`, or after `close`.
          SimulationFailed: the simulator failed or its state is no longer finite.
        """
        self._check_open()
        if not self._started:
            raise RuntimeError(f"{self.spec.name}: reset() must come before step()")
        reward, terminated = self._advance(self._checked(action))
        final_obs = self._observe().astype(np.float32)
        self._check_finite(final_obs, reward)
        self._elapsed += 1
        truncated = ~terminated & self._out_of_time()
        obs = final_obs.copy()
        finished = np.flatnonzero(terminated | truncated)
        if finished.size:
            self._initialize(finished)
            self._elapsed[finished] = 0
            obs[finished] = self._observe()[finished]
        return Step(obs, reward.astype(np.float32), terminated, truncated, final_obs)

    def state_dict(self) -> State:
        """Everything a bit-exact continuation needs, as numpy arrays and plain values."""
        self._check_open()
        return {
            "task": self.spec.name,
            "num_envs": self.num_envs,
            "started": self._started,
            "elapsed": self._elapsed.copy(),
            "rng": self._rng.bit_generator.state,
            "simulation": self._simulation_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Continue from a `state_dict` of the same task and number of environments.

        False where the simulation cannot be put back, which only a user's own environment may
        answer: the generator continues, the episodes do not, and `reset` has to come next.

        Raises:
          ValueError: the state is of another task or number of environments.
        """
        self._check_open()
        for key, mine in (("task", self.spec.name), ("num_envs", self.num_envs)):
            if state[key] != mine:
                raise ValueError(f"the saved {key} is {state[key]!r}, this one's is {mine!r}")
        self._rng.bit_generator.state = state["rng"]
        self._elapsed[:] = state["elapsed"]
        self._started = bool(state["started"])
        self._load_simulation_state(state["simulation"])
        return self._started == bool(state["started"])

    def close(self) -> None:
        """Let go of the simulator; anything but another `close` raises from here on."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{self.spec.name}: the environment is closed")

    def _checked(self, action: Float[np.ndarray, "B A"]) -> Float64[np.ndarray, "B A"]:
        action = np.asarray(action, np.float64)
        shape = (self.num_envs, self.action_dim)
        if action.shape != shape:
            raise ValueError(f"{self.spec.name}: action must be {shape}, got {action.shape}")
        if not np.isfinite(action).all():
            ids = np.flatnonzero(~np.isfinite(action).all(axis=1)).tolist()
            raise ValueError(f"{self.spec.name}: the action of environments {ids} is not finite")
        return np.clip(action, -1.0, 1.0)

    def _check_finite(self, obs: np.ndarray, reward: np.ndarray) -> None:
        # a sum is not finite as soon as one term is not: one pass where all is well
        if not np.isfinite(obs.sum() + reward.sum()):
            good = np.isfinite(obs).all(axis=1) & np.isfinite(reward)
            if not good.all():
                raise SimulationFailed(
                    f"{self.spec.name}: observation or reward of environments "
                    f"{np.flatnonzero(~good).tolist()} is not finite"
                )

    def _out_of_time(self) -> Bool[np.ndarray, " B"]:
        """Which episodes end with this step for a reason outside the task's dynamics."""
        return self._elapsed >= self.episode_length

    @abstractmethod
    def _initialize(self, ids: Ids) -> None:
        """Put the environments `ids` (sorted) into the start state of a new episode."""

    @abstractmethod
    def _advance(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        """Advance by one environment step; the reward paid and whether the episode terminated."""

    @abstractmethod
    def _observe(self) -> Float64[np.ndarray, "B O"]:
        """The observation of the present state, in the task's own precision."""

    @abstractmethod
    def _simulation_state(self) -> State:
        """Copies of the state of the dynamics."""

    @abstractmethod
    def _load_simulation_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `_simulation_state` gave."""
