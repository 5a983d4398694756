"""A user's own Gymnasium vector environment as a task, named "module:Class".

`Class` is called as `Class(num_envs=n)`. It is a `gymnasium.vector.VectorEnv`, or a function that
returns one, such as `gymnasium.make_vec("Pendulum-v1", num_envs=num_envs)`. The module must be
importable wherever a run of the task starts. Checked when the task is first named:

* `single_observation_space` is a flat `Box` of floats, and so is `single_action_space`, with finite
  bounds, to which actions of [-1, 1] are stretched.
* A time limit: an attribute `max_episode_steps`, or that of the `spec` which Gymnasium's registry
  gives. An episode that is still running then is truncated here.
* `metadata["autoreset_mode"]`, any of the three. In SAME_STEP the environment restarts by itself
  and hands over `infos["final_obs"]`. In NEXT_STEP and DISABLED it is restarted from here by
  `reset(options={"reset_mask": mask})`, as Gymnasium's own vector environments allow: NEXT_STEP's
  extra step, which only resets, would enter the data as a transition that never happened.

All randomness has to follow from `reset(seed=...)`: the same seed brings the same start states
back. To continue in the middle of episodes bit for bit, the environment also needs `state_dict()`
and `load_state_dict(state)`, of arrays, dictionaries and plain values. Without them a resumed run
starts new episodes, and a warning says so.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Float32, Float64

from flowpwm.checks import did_you_mean
from flowpwm.envs.base import Ids, TaskSpec, UnknownTask, VectorEnv

logger = logging.getLogger(__name__)

_SEEDS = 2**31  # what every generator takes as a seed


class GymnasiumEnv(VectorEnv):
    """A Gymnasium vector environment behind our contract, in whatever way it restarts itself."""

    def __init__(
        self,
        spec: TaskSpec,
        rng: np.random.Generator,
        env: gymnasium.vector.VectorEnv,
    ) -> None:
        super().__init__(spec, env.num_envs, rng)
        self._env = env
        self._restarts_itself = _autoreset_mode(env) is AutoresetMode.SAME_STEP
        actions = _flat_box("action", env.single_action_space)
        self._low, self._high = actions.low.astype(np.float64), actions.high.astype(np.float64)
        self._action_dtype = actions.dtype
        self._snapshots = _snapshots(env)
        self._seed = 0
        self._steps = 0  # since every environment was reset with that seed
        self._obs = np.zeros((self.num_envs, self.obs_dim))
        # Of the last step: the episodes that the environment truncated; those that it has followed
        # with new ones already, and where these begin.
        self._truncated = np.zeros(self.num_envs, bool)
        self._restarted = np.zeros(self.num_envs, bool)
        self._restart_obs = self._obs

    def reset(self) -> Float32[np.ndarray, "B O"]:
        """Start a new episode in every environment, with a seed drawn from the generator."""
        self._check_open()
        self._seed = int(self._rng.integers(_SEEDS))
        self._reset_all()
        return self._obs.astype(np.float32)

    def close(self) -> None:
        """Close the environment as well."""
        if not self._closed:
            super().close()
            self._env.close()

    def _reset_all(self) -> None:
        obs, _ = self._env.reset(seed=self._seed)
        self._obs = _copied(obs)
        self._steps = 0
        self._elapsed[:] = 0
        self._started = True

    def _initialize(self, ids: Ids) -> None:
        restarted = ids[self._restarted[ids]]
        self._obs[restarted] = self._restart_obs[restarted]
        waiting = ids[~self._restarted[ids]]
        if waiting.size:
            mask = np.zeros(self.num_envs, bool)
            mask[waiting] = True
            obs = _copied(self._env.reset(options={"reset_mask": mask})[0])
            if not np.array_equal(obs[~mask], self._obs[~mask]):
                raise ValueError(
                    f"{self.spec.name}: reset(options={{'reset_mask': mask}}) changed environments "
                    "outside the mask; keep to the mask, or use autoreset mode SAME_STEP"
                )
            self._obs[mask] = obs[mask]

    def _advance(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        native = self._low + 0.5 * (action + 1.0) * (self._high - self._low)
        native = np.clip(native, self._low, self._high).astype(self._action_dtype)
        obs, reward, terminated, truncated, infos = self._env.step(native)
        self._steps += 1
        self._obs = _copied(obs)
        terminated = np.array(terminated, bool)
        self._truncated = np.array(truncated, bool)
        ended = terminated | self._truncated
        if self._restarts_itself and ended.any():
            self._restart_obs = self._obs.copy()
            self._obs[ended] = self._final_obs(infos, ended)
        self._restarted = ended & self._restarts_itself
        return np.array(reward, np.float64), terminated

    def _final_obs(
        self, infos: Mapping[str, Any], ended: Bool[np.ndarray, " B"]
    ) -> Float64[np.ndarray, "n O"]:
        if "final_obs" not in infos:
            raise ValueError(
                f"{self.spec.name}: autoreset mode SAME_STEP, but step() gave no infos['final_obs']"
            )
        # an object array in Gymnasium's own environments, with None where no episode ended
        return np.stack([infos["final_obs"][i] for i in np.flatnonzero(ended)]).astype(np.float64)

    def _out_of_time(self) -> Bool[np.ndarray, " B"]:
        return super()._out_of_time() | self._truncated

    def _observe(self) -> Float64[np.ndarray, "B O"]:
        return self._obs

    def _simulation_state(self) -> dict[str, Any]:
        state = {"seed": self._seed, "steps": self._steps, "obs": self._obs.copy()}
        if self._started and self._snapshots is not None:
            state["environment"] = copy.deepcopy(self._snapshots.state_dict())
        return state

    def _load_simulation_state(self, state: Mapping[str, Any]) -> None:
        if not self._started:
            return
        self._seed, self._steps = state["seed"], state["steps"]
        if self._snapshots is not None and "environment" in state:
            self._snapshots.load_state_dict(copy.deepcopy(state["environment"]))
            self._obs = np.array(state["obs"])
        elif self._steps == 0:
            self._reset_all()
            if not np.array_equal(self._obs, state["obs"]):
                self._give_up("the same reset(seed=...) does not bring the same start states back")
        else:
            self._give_up("it has no state_dict and load_state_dict")

    def _give_up(self, reason: str) -> None:
        self._started = False
        logger.warning(
            "%s cannot continue its saved episodes: %s. New episodes start instead.",
            self.spec.name,
            reason,
        )


@cache
def gymnasium_spec(task: str) -> TaskSpec:
    """The `TaskSpec` of "module:Class", from one environment that is built and closed again.

    Raises:
      UnknownTask: no such module, or nothing of that name in it.
      ValueError: it is no vector environment, or not one of the kind described above.
    """
    factory = _imported(task)
    with _named(task):
        env = _built(factory, 1)
        try:
            obs = _flat_box("observation", env.single_observation_space)
            actions = _flat_box("action", env.single_action_space)
            if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
                raise ValueError("the action space must have finite bounds")
            _autoreset_mode(env)
            length = _time_limit(env)
        finally:
            env.close()

    def build(
        spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int
    ) -> GymnasiumEnv:
        del num_threads  # how it spreads its work is its own affair
        with _named(task):
            return GymnasiumEnv(spec, rng, _built(factory, num_envs))

    threshold = getattr(env.spec, "reward_threshold", None)
    return TaskSpec(
        name=task,
        layout=(("observation", obs.shape[0]),),
        action_dim=actions.shape[0],
        episode_length=length,
        return_low=-math.inf,
        return_high=math.inf,
        threshold=math.inf if threshold is None else float(threshold),
        build=build,
        terminates=True,
    )


@contextmanager
def _named(task: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"task {task!r}: {error}") from error


def _imported(task: str) -> Any:
    module_name, _, attribute = task.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        raise UnknownTask(f"task {task!r} must read 'module:Class', with a module's dotted name")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # a failing import inside the user's module is for its author to see whole
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UnknownTask(f"task {task!r}: no module named {error.name!r}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, dir(found))
            raise UnknownTask(f"task {task!r}: {module_name!r} has no {attribute!r}.{hint}")
        found = getattr(found, part)
    return found


def _built(factory: Any, num_envs: int) -> gymnasium.vector.VectorEnv:
    if not callable(factory):
        raise ValueError(f"a {type(factory).__name__} is no class or function")
    if isinstance(factory, type):
        _check_vector_env(factory)
    build: Callable[..., Any] = factory
    try:
        inspect.signature(build).bind(num_envs=num_envs)
    except TypeError as error:
        raise ValueError(f"it cannot be called with num_envs alone: {error}") from error
    env = build(num_envs=num_envs)
    _check_vector_env(type(env))
    if env.num_envs != num_envs:
        raise ValueError(f"asked for num_envs={num_envs}, it built {env.num_envs}")
    return env


def _check_vector_env(found: type) -> None:
    if not issubclass(found, gymnasium.vector.VectorEnv):
        single = issubclass(found, gymnasium.Env)
        hint = "; gymnasium.vector.SyncVectorEnv makes one of it" if single else ""
        raise ValueError(f"{found.__name__} is not a gymnasium.vector.VectorEnv{hint}")


def _flat_box(which: str, space: Space) -> Box:
    if not isinstance(space, Box):
        found = type(space).__name__
    elif len(space.shape) != 1 or space.dtype.kind != "f":
        found = f"{space.dtype} of shape {space.shape}"
    else:
        return space
    raise ValueError(f"the {which} space must be a flat Box of floats, got {found}")


def _autoreset_mode(env: gymnasium.vector.VectorEnv) -> AutoresetMode:
    found = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(found)
    except ValueError:
        known = ", ".join(mode.name for mode in AutoresetMode)
        raise ValueError(
            f"metadata['autoreset_mode'] must be one of gymnasium.vector.AutoresetMode "
            f"({known}), got {found!r}"
        ) from None


def _time_limit(env: gymnasium.vector.VectorEnv) -> int:
    base = env.unwrapped
    holders: list[Any] = [env, base, env.spec]
    if isinstance(base, gymnasium.vector.SyncVectorEnv | gymnasium.vector.AsyncVectorEnv):
        holders += base.get_attr("spec")
    for holder in holders:
        limit = getattr(holder, "max_episode_steps", None)
        if limit is not None:
            return int(limit)
    raise ValueError("it names no time limit: give it an attribute max_episode_steps")


def _snapshots(env: gymnasium.vector.VectorEnv) -> Any:
    """The layer of `env` that can save and restore itself, None where none can."""
    for layer in (env, env.unwrapped):
        if all(hasattr(layer, name) for name in ("state_dict", "load_state_dict")):
            return layer
    return None


def _copied(obs: Any) -> Float64[np.ndarray, "B O"]:
    return np.array(obs, np.float64)  # an environment may write its own arrays again
