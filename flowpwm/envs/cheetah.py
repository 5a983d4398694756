"""A planar cheetah that runs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_RUN_SPEED = 10.0
_SETTLE_SUBSTEPS = 200


class CheetahRun(SuiteTask):
    """Paid in proportion to the forward speed, up to 10 m/s; starts settled in some pose.

    Reward and start: dm_control suite/cheetah.py, `Cheetah`.
    """

    domain = "cheetah"

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        self._speed = physics.sensor("torso_subtreelinvel")[:, 0]

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

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Forward speed over 10 m/s, between 0 and 1."""
        return tolerance(
            self._speed,
            _RUN_SPEED,
            np.inf,
            margin=_RUN_SPEED,
            decay="linear",
            value_at_margin=0.0,
        )


SPECS = (
    suite_spec(
        "cheetah-run",
        CheetahRun,
        layout=(("position", 8), ("velocity", 9)),
        action_dim=6,
        threshold=600.0,
    ),
)
