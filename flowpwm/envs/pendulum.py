"""Swing a torque-limited pendulum up and hold it, or keep it spinning."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_UPRIGHT_COSINE = float(np.cos(np.deg2rad(8)))
_SPIN_SPEED = 9.0


class Pendulum(SuiteTask):
    """What the tasks share: a start at any angle, at rest, and what is observed.

    Start: dm_control suite/pendulum.py, `SwingUp`.
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


class PendulumSwingup(Pendulum):
    """Paid only within 8 degrees of upright. Reward: as the start."""

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 within 8 degrees of upright, else 0."""
        return tolerance(self._zz, _UPRIGHT_COSINE, 1.0)


class PendulumSpin(Pendulum):
    """Paid for spinning, either way round, at 9 rad/s or faster. Reward: MT30."""

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Falls linearly with the speed, to one half at 4.5 rad/s and to 0 at rest."""
        return tolerance(
            np.abs(self.physics.qvel[:, 0]),
            _SPIN_SPEED,
            np.inf,
            margin=_SPIN_SPEED / 2.0,
            decay="linear",
            value_at_margin=0.5,
        )


def _spec(name: str, task: type[Pendulum], threshold: float) -> TaskSpec:
    layout = (("orientation", 2), ("velocity", 1))
    return suite_spec(name, task, layout, action_dim=1, threshold=threshold)


SPECS = (
    _spec("pendulum-swingup", PendulumSwingup, threshold=750.0),
    _spec("pendulum-spin", PendulumSpin, threshold=750.0),
)
