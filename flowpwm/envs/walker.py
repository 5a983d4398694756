"""A planar walker that stands, walks and runs, forwards or backwards."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_STAND_HEIGHT = 1.2
_WALK_SPEED = 1.0
_RUN_SPEED = 8.0


class Walker(SuiteTask):
    """Paid for an upright torso at 1.2 m or higher and, unless `speed` is 0, for moving.

    `speed`, in m/s and negative for backwards, is what earns full pay; half of it earns three
    quarters of the pay for moving. Starts in any pose, falling.
    Reward and start: dm_control suite/walker.py, `PlanarWalker`; backwards: the same mirrored, as
    in MT30.
    """

    domain = "walker"
    substeps = 10

    def __init__(self, physics: Physics, speed: float) -> None:
        super().__init__(physics)
        torso = physics.body("torso")
        rotation = physics.field("xmat")
        self._upright = rotation[:, torso, 8]
        self._height = physics.field("xpos")[:, torso, 2]
        self._velocity = physics.sensor("torso_subtreelinvel")[:, 0]
        # xx and xz of every body but the world
        self._orientations = rotation[:, 1:, 0:3:2]
        self._speed = speed

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform torso and joint angles, at rest."""
        draw_joints(self.physics, ids, rng, unlimited=True)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Orientation of every body, torso height in metres, velocities."""
        orientations = self._orientations.reshape(len(self._height), -1)
        return np.column_stack((orientations, self._height, self.physics.qvel))

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Three parts height to one part uprightness, times five parts speed and one part 1."""
        tall = tolerance(self._height, _STAND_HEIGHT, np.inf, margin=_STAND_HEIGHT / 2.0)
        standing = (3.0 * tall + (1.0 + self._upright) / 2.0) / 4.0
        if self._speed == 0.0:
            return standing
        wanted = abs(self._speed)
        moving = tolerance(
            self._velocity if self._speed > 0.0 else -self._velocity,
            wanted,
            np.inf,
            margin=wanted / 2.0,
            decay="linear",
            value_at_margin=0.5,
        )
        return standing * (5.0 * moving + 1.0) / 6.0


def _spec(name: str, speed: float, threshold: float) -> TaskSpec:
    layout = (("orientations", 14), ("height", 1), ("velocity", 9))
    return suite_spec(name, Walker, layout, action_dim=6, threshold=threshold, speed=speed)


SPECS = (
    _spec("walker-stand", 0.0, threshold=900.0),
    _spec("walker-walk", _WALK_SPEED, threshold=880.0),
    _spec("walker-run", _RUN_SPEED, threshold=770.0),
    _spec("walker-walk-backwards", -_WALK_SPEED, threshold=850.0),
    _spec("walker-run-backwards", -_RUN_SPEED, threshold=750.0),
)
