"""Swing a torque-limited pendulum up and hold it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_UPRIGHT_COSINE = float(np.cos(np.deg2rad(8)))


class PendulumSwingup(SuiteTask):
    """Paid only within 8 degrees of upright; starts at any angle, at rest.

    Reward and start: dm_control suite/pendulum.py, `SwingUp`.
    """

    domain = "pendulum"

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        pole = physics.body("pole")
        self._zz, self._xz = (physics.field("xmat")[:, pole, axis] for axis in (8, 2))

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """A uniform angle, at rest."""
        self.physics.qpos[ids, 0] = rng.uniform(-np.pi, np.pi, ids.size)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Cosine and sine of the angle from upright, and angular velocity."""
        return np.column_stack((self._zz, self._xz, self.physics.qvel))

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 within 8 degrees of upright, else 0."""
        return tolerance(self._zz, _UPRIGHT_COSINE, 1.0)


SPECS = (
    suite_spec(
        "pendulum-swingup",
        PendulumSwingup,
        layout=(("orientation", 2), ("velocity", 1)),
        action_dim=1,
        threshold=750.0,
    ),
)
