"""Swing a two-link arm up that is driven at the elbow only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, norm, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance


class Acrobot(SuiteTask):
    """Paid for the tip near the target above; starts at any angles, at rest.

    Reward and start: dm_control suite/acrobot.py, `Balance` (not sparse).
    """

    domain = "acrobot"

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        arms = slice(physics.body("upper_arm"), physics.body("lower_arm") + 1)
        rotation = physics.field("xmat")
        self._xz, self._zz = rotation[:, arms, 2], rotation[:, arms, 8]
        position, target = physics.field("site_xpos"), physics.site("target")
        self._target, self._tip = position[:, target], position[:, physics.site("tip")]
        self._target_radius = float(physics.model.site_size[target, 0])

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform angles, at rest."""
        self.physics.qpos[ids] = rng.uniform(-np.pi, np.pi, (ids.size, 2))

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Sines and cosines of both links' angles from upright, and velocities."""
        return np.concatenate((self._xz, self._zz, self.physics.qvel), axis=1)

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 with the tip in the target, a tenth of it one metre away."""
        return tolerance(norm(self._target - self._tip), 0.0, self._target_radius, margin=1.0)


SPECS = (
    suite_spec(
        "acrobot-swingup",
        Acrobot,
        layout=(("orientations", 4), ("velocity", 2)),
        action_dim=1,
        threshold=460.0,
    ),
)
