"""Environments of the DeepMind Control Suite on top of batched physics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float64

from flowpwm.envs.base import Ids, SimulationFailed, TaskSpec, VectorEnv
from flowpwm.envs.physics import Physics, suite_model

ACTION_REPEAT = 2
# 1000 control steps; no task of the suite that we have ever terminates early
EPISODE_LENGTH = 500
# the rarest accepted start, a ball in the cup, takes about 50 draws
_MAX_DRAWS = 10_000


class SuiteTask(ABC):
    """One task: where an episode starts, what is observed, what is paid.

    `domain` is the model's file name in dm_control's suite and `substeps` the time steps of the
    model in one control step. A subclass binds the fields it reads when it is built.
    """

    domain: ClassVar[str]
    substeps: ClassVar[int] = 1

    def __init__(self, physics: Physics) -> None:
        self.physics = physics

    @classmethod
    def model(cls) -> Any:
        """The `MjModel` that the task is simulated with."""
        return suite_model(cls.domain)

    @abstractmethod
    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Write the start states of new episodes over the default states of `ids`."""

    @abstractmethod
    def observe(self) -> Float64[np.ndarray, "B O"]:
        """The observation of the present state."""

    @abstractmethod
    def reward(self) -> Float64[np.ndarray, " B"]:
        """What one control step that led to the present state pays, in [0, 1]."""


class SuiteEnv(VectorEnv):
    """A `SuiteTask` with action repeat and the suite's fixed episode length."""

    def __init__(
        self,
        spec: TaskSpec,
        model: Any,
        task: Callable[[Physics], SuiteTask],
        num_envs: int,
        rng: np.random.Generator,
        num_threads: int,
    ) -> None:
        super().__init__(spec, num_envs, rng)
        self.physics = Physics(model, spec.name, num_envs, num_threads)
        self.task = task(self.physics)

    def control_step(self, action: Float64[np.ndarray, "B A"]) -> None:
        """Advance by one control step of the suite: no repeat, no reset, no clipping."""
        self.physics.ctrl[:] = action
        self.physics.step(self.task.substeps)

    def close(self) -> None:
        """Free the simulator as well."""
        if not self._closed:
            super().close()
            del self.physics, self.task

    def _initialize(self, ids: Ids) -> None:
        self.physics.reset(ids)
        self.task.start(ids, self._rng)
        self.physics.forward(ids)

    def _advance(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        reward = np.zeros(self.num_envs)
        for _ in range(self.spec.action_repeat):
            self.control_step(action)
            reward += self.task.reward()
        return reward, np.zeros(self.num_envs, bool)

    def _observe(self) -> Float64[np.ndarray, "B O"]:
        return self.task.observe()

    def _simulation_state(self) -> dict[str, Any]:
        return self.physics.state_dict()

    def _load_simulation_state(self, state: Mapping[str, Any]) -> None:
        self.physics.load_state_dict(state)


def suite_spec(
    name: str,
    task: type[SuiteTask],
    layout: tuple[tuple[str, int], ...],
    action_dim: int,
    threshold: float,
    **options: object,
) -> TaskSpec:
    """The table entry of a suite task; `options` go to the constructor of `task`."""

    def build(
        spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int
    ) -> SuiteEnv:
        def make_task(physics: Physics) -> SuiteTask:
            return task(physics, **options)

        return SuiteEnv(spec, task.model(), make_task, num_envs, rng, num_threads)

    return TaskSpec(
        name=name,
        layout=layout,
        action_dim=action_dim,
        episode_length=EPISODE_LENGTH,
        return_low=0.0,
        return_high=float(ACTION_REPEAT * EPISODE_LENGTH),
        threshold=threshold,
        build=build,
        action_repeat=ACTION_REPEAT,
    )


def draw_joints(physics: Physics, ids: Ids, rng: np.random.Generator, unlimited: bool) -> None:
    """Limited joints uniform in their range and, if `unlimited`, other hinges at any angle.

    The start distribution of dm_control's `randomize_limited_and_rotational_joints`
    (suite/utils/randomizers.py) for models without ball and free joints.
    """
    model = physics.model
    limited = physics.limited()
    low, high = np.where(limited[:, None], model.jnt_range, (-np.pi, np.pi)).T
    drawn = limited | (physics.hinges() & unlimited)
    address = model.jnt_qposadr[drawn]
    physics.qpos[np.ix_(ids, address)] = rng.uniform(
        low[drawn], high[drawn], (ids.size, address.size)
    )


def draw_until(
    physics: Physics,
    ids: Ids,
    draw: Callable[[Ids], None],
    accepted: Callable[[Ids], Bool[np.ndarray, " n"]],
) -> None:
    """Let `draw` write start states and redraw those of `ids` that are not `accepted`.

    Computed fields are current when `accepted` looks at them.

    Raises:
      SimulationFailed: some start is still not accepted after 10,000 draws.
    """
    pending = ids
    for _ in range(_MAX_DRAWS):
        draw(pending)
        physics.forward(pending)
        pending = pending[~accepted(pending)]
        if not pending.size:
            return
    raise SimulationFailed(
        f"{physics.name}: no start state found in {_MAX_DRAWS} draws in simulations "
        f"{pending.tolist()}"
    )


def norm(vectors: Float64[np.ndarray, "B n"]) -> Float64[np.ndarray, " B"]:
    """The length of each vector, rounded as `np.linalg.norm` rounds it for one vector."""
    return np.sqrt(np.vecdot(vectors, vectors))
