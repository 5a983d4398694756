"""A planar walker that stands up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_STAND_HEIGHT = 1.2


class WalkerStand(SuiteTask):
    """Paid for an upright torso at 1.2 m or higher; starts in any pose, falling.

    Reward and start: dm_control suite/walker.py, `PlanarWalker` at speed 0.
    """

    domain = "walker"
    substeps = 10

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        torso = physics.body("torso")
        rotation = physics.field("xmat")
        self._upright = rotation[:, torso, 8]
        self._height = physics.field("xpos")[:, torso, 2]
        # xx and xz of every body but the world
        self._orientations = rotation[:, 1:, 0:3:2]

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform torso and joint angles, at rest."""
        draw_joints(self.physics, ids, rng, unlimited=True)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Orientation of every body, torso height in metres, velocities."""
        orientations = self._orientations.reshape(len(self._height), -1)
        return np.column_stack((orientations, self._height, self.physics.qvel))

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Three parts height to one part uprightness."""
        standing = tolerance(self._height, _STAND_HEIGHT, np.inf, margin=_STAND_HEIGHT / 2.0)
        return (3.0 * standing + (1.0 + self._upright) / 2.0) / 4.0


SPECS = (
    suite_spec(
        "walker-stand",
        WalkerStand,
        layout=(("orientations", 14), ("height", 1), ("velocity", 9)),
        action_dim=6,
        threshold=900.0,
    ),
)
