"""A planar cheetah that runs, on both feet or on one, and jumps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_RUN_SPEED = 10.0
_BACKWARDS_SPEED = 8.0
_ONE_FOOT_SPEED = 6.0
_RAISED_HEIGHT = 1.2
_STILL_SPEED = 0.5
_SETTLE_SUBSTEPS = 200


class Cheetah(SuiteTask):
    """What the tasks share: a start settled in some pose, and what is observed.

    Start: dm_control suite/cheetah.py, `Cheetah`.
    """

    domain = "cheetah"

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        self._velocity = physics.sensor("torso_subtreelinvel")[:, 0]
        self._torso_height, self._back_foot_height, self._front_foot_height = (
            physics.field("xpos")[:, physics.body(name), 2] for name in ("torso", "bfoot", "ffoot")
        )

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform joint angles, then two seconds of settling without actuation."""
        physics = self.physics
        # dm_control draws the pose after the forward pass of its reset, so the first of the 200
        # settling steps still applies the forces of the default pose
        default = physics.qpos[ids]
        physics.step(1, ids)
        kick = physics.qpos[ids] - default
        physics.qpos[ids] = default
        draw_joints(physics, ids, rng, unlimited=False)
        physics.qpos[ids] += kick
        physics.step(_SETTLE_SUBSTEPS - 1, ids)
        physics.time[ids] = 0.0

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Positions but the horizontal one, and velocities."""
        return np.concatenate((self.physics.qpos[:, 1:], self.physics.qvel), axis=1)


class CheetahRun(Cheetah):
    """Paid in proportion to the speed, up to 10 m/s forwards or 8 m/s backwards.

    Reward: dm_control suite/cheetah.py, `Cheetah`; backwards: as in MT30.
    """

    def __init__(self, physics: Physics, backwards: bool) -> None:
        super().__init__(physics)
        self._backwards = backwards

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Speed over the fastest that is paid for, between 0 and 1."""
        if self._backwards:
            return _proportional(-self._velocity, _BACKWARDS_SPEED)
        return _proportional(self._velocity, _RUN_SPEED)


class CheetahRunOneFoot(Cheetah):
    """Paid for running at 6 m/s on the front foot, or the back one, with torso and other foot up.

    Reward: MT30. Both must be at 1.2 m or higher for full pay.
    """

    def __init__(self, physics: Physics, on_front: bool) -> None:
        super().__init__(physics)
        self._raised_height = self._back_foot_height if on_front else self._front_foot_height

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Three parts foot to two parts torso, times five parts speed and one part 1."""
        raised = (3.0 * _high(self._raised_height) + 2.0 * _high(self._torso_height)) / 5.0
        return raised * (5.0 * _proportional(self._velocity, _ONE_FOOT_SPEED) + 1.0) / 6.0


class CheetahJump(Cheetah):
    """Paid for torso and feet high above ground while moving neither forwards nor backwards.

    Reward: MT30. Each foot's height is averaged with the torso's and both feet count alike.
    """

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Five parts height to one part standing still."""
        still = tolerance(
            self._velocity,
            -_STILL_SPEED,
            _STILL_SPEED,
            margin=_STILL_SPEED,
            decay="linear",
            value_at_margin=0.0,
        )
        back, front = (
            (5.0 * _high((self._torso_height + foot) / 2.0) + still) / 6.0
            for foot in (self._back_foot_height, self._front_foot_height)
        )
        return (back + front) / 2.0


def _proportional(velocity: Float64[np.ndarray, " B"], speed: float) -> Float64[np.ndarray, " B"]:
    return tolerance(velocity, speed, np.inf, margin=speed, decay="linear", value_at_margin=0.0)


def _high(height: Float64[np.ndarray, " B"]) -> Float64[np.ndarray, " B"]:
    return tolerance(height, _RAISED_HEIGHT, np.inf, margin=_RAISED_HEIGHT / 2.0)


def _spec(name: str, task: type[Cheetah], threshold: float, **options: bool) -> TaskSpec:
    layout = (("position", 8), ("velocity", 9))
    return suite_spec(name, task, layout, action_dim=6, threshold=threshold, **options)


SPECS = (
    _spec("cheetah-run", CheetahRun, threshold=600.0, backwards=False),
    _spec("cheetah-run-backwards", CheetahRun, threshold=640.0, backwards=True),
    _spec("cheetah-run-front", CheetahRunOneFoot, threshold=620.0, on_front=True),
    _spec("cheetah-run-back", CheetahRunOneFoot, threshold=730.0, on_front=False),
    _spec("cheetah-jump", CheetahJump, threshold=730.0),
)
