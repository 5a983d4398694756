"""A ball on a string below a cup that moves in a vertical plane."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_until, norm, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_FAR = 0.5
_FAST = 6.0
_START_ANYWHERE = 0.1


class CupCatch(SuiteTask):
    """Paid while the ball is in the cup; starts with it anywhere around, touching nothing.

    Reward and start: dm_control suite/ball_in_cup.py, `BallInCup`.
    """

    domain = "ball_in_cup"
    substeps = 10

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        model = physics.model
        cup, ball = physics.site("target"), physics.body("ball")
        # x and z: the model is planar
        self._cup = physics.field("site_xpos")[:, cup, 0::2]
        self._ball = physics.field("xpos")[:, ball, 0::2]
        self._room = model.site_size[cup, 0::2] - model.geom_size[physics.geom("ball"), 0]
        self._contacts = physics.field("ncon")
        joints = [int(model.joint(name).qposadr[0]) for name in ("ball_x", "ball_z")]
        self._ball_joints = slice(joints[0], joints[1] + 1)

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """The ball uniform in a box, redrawn while it touches the cup; all at rest."""
        draw_until(
            self.physics, ids, lambda some: self._place_ball(some, rng), self._touches_nothing
        )

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Positions of cup and ball from where they hang, and velocities."""
        return np.concatenate((self.physics.qpos, self.physics.qvel), axis=1)

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 where the ball is in the cup, else 0."""
        return self._caught().astype(np.float64)

    def _place_ball(self, ids: Ids, rng: np.random.Generator) -> None:
        place = rng.uniform((-0.2, 0.2), (0.2, 0.5), (ids.size, 2))
        self.physics.qpos[ids, self._ball_joints] = place

    def _touches_nothing(self, ids: Ids) -> Bool[np.ndarray, " n"]:
        return self._contacts[ids] == 0

    def _caught(self) -> Bool[np.ndarray, " B"]:
        return (np.abs(self._cup - self._ball) < self._room).all(axis=1)


class CupSpin(CupCatch):
    """Paid for swinging the ball round, out of the cup, far from it and fast.

    Reward and start: MT30.
    """

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """The ball in the cup; in one episode of ten anywhere, as for catching it."""
        anywhere = np.zeros(len(self.physics.qpos), bool)
        anywhere[ids] = rng.uniform(0.0, 1.0, ids.size) < _START_ANYWHERE

        def accepted(some: Ids) -> Bool[np.ndarray, " n"]:
            return self._touches_nothing(some) & (self._caught() | anywhere)[some]

        draw_until(self.physics, ids, lambda some: self._place_ball(some, rng), accepted)

    def reward(self) -> Float64[np.ndarray, " B"]:
        """One part distance to two parts speed, outside the cup."""
        far = tolerance(
            norm(self._cup - self._ball),
            _FAR,
            np.inf,
            margin=_FAR / 2.0,
            decay="linear",
            value_at_margin=0.5,
        )
        fast = tolerance(
            norm(self.physics.qvel[:, self._ball_joints]),
            _FAST,
            np.inf,
            margin=_FAST / 2.0,
            decay="linear",
            value_at_margin=0.5,
        )
        return ~self._caught() * (far + 2.0 * fast) / 3.0


def _spec(name: str, task: type[CupCatch], threshold: float) -> TaskSpec:
    layout = (("position", 4), ("velocity", 4))
    return suite_spec(name, task, layout, action_dim=2, threshold=threshold)


SPECS = (
    _spec("cup-catch", CupCatch, threshold=880.0),
    _spec("cup-spin", CupSpin, threshold=760.0),
)
