"""A two-joint finger that flicks a freely turning body."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_joints, draw_until, norm, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_SPIN_SPEED = 15.0
_SPIN_DAMPING = 0.03
_EASY_TARGET_RADIUS = 0.07
_HARD_TARGET_RADIUS = 0.03


class Finger(SuiteTask):
    """What the tasks share: a start in any pose without contact, and what is observed.

    Start: dm_control suite/finger.py.
    """

    domain = "finger"
    substeps = 2

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        self._contacts = physics.field("ncon")
        joints = ("proximal", "distal")
        self._angles, self._velocities, self._touch = (
            [physics.sensor(name)[:, 0] for name in names]
            for names in (
                joints,
                ("proximal_velocity", "distal_velocity", "hinge_velocity"),
                ("touchtop", "touchbottom"),
            )
        )
        # x and z: the model is planar
        self._tip, self._spinner = (physics.sensor(n)[:, 0::2] for n in ("tip", "spinner"))

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform angles, redrawn while finger and body touch; at rest."""

        def draw(some: Ids) -> None:
            draw_joints(self.physics, some, rng, unlimited=True)

        def touches_nothing(some: Ids) -> Bool[np.ndarray, " n"]:
            return self._contacts[some] == 0

        draw_until(self.physics, ids, draw, touches_nothing)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Finger angles, the body's tip from its hinge in metres, velocities, touch (log N)."""
        tip = self._tip - self._spinner
        touch = np.log1p(np.column_stack(self._touch))
        return np.column_stack((*self._angles, tip, *self._velocities, touch))


class FingerSpin(Finger):
    """Paid while the body turns at 15 rad/s or faster, with less friction than for turning.

    Reward: dm_control suite/finger.py, `Spin`.
    """

    @classmethod
    def model(cls) -> Any:
        """The suite's, with the body's damping in N m s/rad lowered."""
        model = super().model()
        model.dof_damping[model.joint("hinge").dofadr] = _SPIN_DAMPING
        return model

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 at 15 rad/s or faster in the direction of a flick downwards, else 0."""
        return tolerance(self._velocities[2], -np.inf, -_SPIN_SPEED)


class FingerTurn(Finger):
    """Paid while the body's tip is in a target, a disc of `target_radius` metres.

    The target lies at a uniform angle on the circle that the tip's end describes.
    Reward and start: dm_control suite/finger.py, `Turn`.
    """

    def __init__(self, physics: Physics, target_radius: float) -> None:
        super().__init__(physics)
        model = physics.model
        self._target = physics.sensor("target")[:, 0::2]
        self._target_in_model = physics.per_simulation("site_pos")[:, physics.site("target")]
        self._target_radius = target_radius
        self._hinge = model.body("spinner").pos[0::2]
        self._circle_radius = model.geom_size[physics.geom("cap1")].sum()

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """A uniform target, then the pose."""
        angle = rng.uniform(-np.pi, np.pi, ids.size)
        direction = np.column_stack((np.sin(angle), np.cos(angle)))
        self._target_in_model[ids, 0::2] = self._hinge + self._circle_radius * direction
        super().start(ids, rng)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Also the target from the hinge, and the distance to its surface, in metres."""
        target = self._target - self._spinner
        return np.column_stack((super().observe(), target, self._distance()))

    def reward(self) -> Float64[np.ndarray, " B"]:
        """1 where the tip is in the target, else 0."""
        return tolerance(self._distance(), -np.inf, 0.0)

    def _distance(self) -> Float64[np.ndarray, " B"]:
        """From the tip to the surface of the target, negative inside."""
        to_target = (self._target - self._spinner) - (self._tip - self._spinner)
        return norm(to_target) - self._target_radius


_LAYOUT = (("position", 4), ("velocity", 3), ("touch", 2))


def _turn_spec(name: str, target_radius: float) -> TaskSpec:
    layout = (*_LAYOUT, ("target_position", 2), ("dist_to_target", 1))
    return suite_spec(
        name, FingerTurn, layout, action_dim=2, threshold=880.0, target_radius=target_radius
    )


SPECS = (
    suite_spec("finger-spin", FingerSpin, _LAYOUT, action_dim=2, threshold=880.0),
    _turn_spec("finger-turn-easy", _EASY_TARGET_RADIUS),
    _turn_spec("finger-turn-hard", _HARD_TARGET_RADIUS),
)
