"""Reach a target in the plane with a two-link arm."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance


class Reacher(SuiteTask):
    """Paid while the finger touches the target, a disc of radius `target_size` metres.

    Reward and start: dm_control suite/reacher.py, `Reacher`: any joint angles, the target at a
    uniform angle and a uniform distance of 0.05 to 0.20 m.
    """

    domain = "reacher"

    def __init__(self, physics: Physics, target_size: float) -> None:
        super().__init__(physics)
        target, finger = physics.geom("target"), physics.geom("finger")
        position = physics.field("geom_xpos")
        self._target, self._finger = position[:, target, :2], position[:, finger, :2]
        self._target_in_model = physics.per_simulation("geom_pos")[:, target]
        self._reach = target_size + float(physics.model.geom_size[finger, 0])

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform joint angles and target, at rest."""
        draw_joints(self.physics, ids, rng, unlimited=True)
        angle = rng.uniform(0.0, 2.0 * np.pi, ids.size)
        radius = rng.uniform(0.05, 0.20, ids.size)
        self._target_in_model[ids, 0] = radius * np.sin(angle)
        self._target_in_model[ids, 1] = radius * np.cos(angle)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Joint angles, vector from finger to target in metres, joint velocities."""
        to_target = self._target - self._finger
        return np.concatenate((self.physics.qpos, to_target, self.physics.qvel), axis=1)

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 where finger and target touch, else 0."""
        dx, dy = (self._target - self._finger).T
        return tolerance(np.sqrt(dx * dx + dy * dy), 0.0, self._reach)


SPECS = (
    suite_spec(
        "reacher-easy",
        Reacher,
        layout=(("position", 2), ("to_target", 2), ("velocity", 2)),
        action_dim=2,
        threshold=900.0,
        target_size=0.05,
    ),
)
