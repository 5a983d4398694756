"""Hold a pole upright on a cart, from near upright or from hanging."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_CENTRED = 0.25
_UPRIGHT_COSINE = 0.995


class Cartpole(SuiteTask):
    """Paid smoothly for an upright, slow pole on a centred, little-driven cart.

    Reward and start: dm_control suite/cartpole.py, `Balance`.
    """

    domain = "cartpole"

    def __init__(self, physics: Physics, swing_up: bool) -> None:
        super().__init__(physics)
        self._swing_up = swing_up
        pole = physics.body("pole_1")
        self._zz, self._xz = (physics.field("xmat")[:, pole, axis] for axis in (8, 2))
        self._x = physics.qpos[:, 0]
        self._spin = physics.qvel[:, 1]
        self._force = physics.ctrl[:, 0]

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Hanging or upright with small noise, and small velocities."""
        if self._swing_up:
            qpos = np.array([0.0, np.pi]) + 0.01 * rng.standard_normal((ids.size, 2))
        else:
            qpos = rng.uniform((-0.1, -0.034), (0.1, 0.034), (ids.size, 2))
        self.physics.qpos[ids] = qpos
        self.physics.qvel[ids] = 0.01 * rng.standard_normal((ids.size, 2))

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Cart position, cosine and sine of the pole angle, and both velocities."""
        return np.column_stack((self._x, self._zz, self._xz, self.physics.qvel))

    def reward(self) -> Float64[np.ndarray, " B"]:
        """The product of upright, centred, slow and gentle."""
        upright = (self._zz + 1.0) / 2.0
        centred = (1.0 + tolerance(self._x, margin=2.0)) / 2.0
        gentle = tolerance(self._force, margin=1.0, decay="quadratic", value_at_margin=0.0)
        slow = (1.0 + tolerance(self._spin, margin=5.0)) / 2.0
        return upright * ((4.0 + gentle) / 5.0) * slow * centred


class CartpoleSparse(Cartpole):
    """Paid only while the cart is within 0.25 m of the centre and the pole all but upright.

    Reward: as the smooth one's, `sparse`.
    """

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 within both bounds, else 0."""
        centred = tolerance(self._x, -_CENTRED, _CENTRED)
        return centred * tolerance(self._zz, _UPRIGHT_COSINE, 1.0)


def _spec(name: str, task: type[Cartpole], threshold: float, swing_up: bool) -> TaskSpec:
    layout = (("position", 3), ("velocity", 2))
    return suite_spec(name, task, layout, action_dim=1, threshold=threshold, swing_up=swing_up)


SPECS = (
    _spec("cartpole-balance", Cartpole, threshold=950.0, swing_up=False),
    _spec("cartpole-balance-sparse", CartpoleSparse, threshold=900.0, swing_up=False),
    _spec("cartpole-swingup", Cartpole, threshold=800.0, swing_up=True),
    _spec("cartpole-swingup-sparse", CartpoleSparse, threshold=750.0, swing_up=True),
)
