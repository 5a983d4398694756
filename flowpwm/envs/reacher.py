"""Reach a target in the plane with an arm of two or three links."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_joints, norm, suite_spec
from flowpwm.envs.physics import Physics, mj
from flowpwm.envs.rewards import tolerance

_LARGE = 0.05
_SMALL = 0.015

# The three-link arm: metres, degrees, N m s/rad, N m at full action.
_RADIUS = 0.01
_JOINT_OFFSET = 0.09
_LINK_LENGTHS = (0.09, 0.09, 0.10)
_BEND_LIMIT = 80.0
_DAMPING = 0.01
_TORQUE = 0.05
_TIME_STEP_S = 0.02


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
        return tolerance(norm(self._target - self._finger), 0.0, self._reach)


class ThreeLinkReacher(Reacher):
    """The same with an arm of three links, of which the second and third bend up to 80 degrees.

    Model: MT30's, from its measures.
    """

    @classmethod
    def model(cls) -> Any:
        """A chain of three capsules with a finger at its end; nothing collides."""
        description = mj.MjSpec()
        description.compiler.degree = True
        description.option.timestep = _TIME_STEP_S
        description.option.disableflags |= mj.mjtDisableBit.mjDSBL_CONTACT
        sphere, capsule = mj.mjtGeom.mjGEOM_SPHERE, mj.mjtGeom.mjGEOM_CAPSULE
        link, offset = description.worldbody, (0.0, 0.0, _RADIUS)
        link.add_geom(name="target", type=sphere, size=(_LARGE, 0.0, 0.0), pos=offset)
        for i, length in enumerate(_LINK_LENGTHS):
            link = link.add_body(name=f"link_{i}", pos=offset)
            link.add_geom(
                type=capsule, size=(_RADIUS, 0.0, 0.0), fromto=(0.0, 0.0, 0.0, length, 0.0, 0.0)
            )
            link.add_joint(
                name=f"joint_{i}",
                type=mj.mjtJoint.mjJNT_HINGE,
                axis=(0.0, 0.0, 1.0),
                damping=_DAMPING,
                limited=i > 0,
                range=(-_BEND_LIMIT, _BEND_LIMIT),
            )
            motor = description.add_actuator(
                name=f"motor_{i}",
                target=f"joint_{i}",
                trntype=mj.mjtTrn.mjTRN_JOINT,
                gear=(_TORQUE, 0.0, 0.0, 0.0, 0.0, 0.0),
                ctrllimited=True,
                ctrlrange=(-1.0, 1.0),
            )
            motor.set_to_motor()
            offset = (_JOINT_OFFSET, 0.0, 0.0)
        finger = link.add_body(name="finger", pos=offset)
        finger.add_geom(name="finger", type=sphere, size=(_RADIUS, 0.0, 0.0))
        return description.compile()


def _spec(name: str, task: type[Reacher], target_size: float, threshold: float) -> TaskSpec:
    links = 3 if task is ThreeLinkReacher else 2
    return suite_spec(
        name,
        task,
        layout=(("position", links), ("to_target", 2), ("velocity", links)),
        action_dim=links,
        threshold=threshold,
        target_size=target_size,
    )


SPECS = (
    _spec("reacher-easy", Reacher, _LARGE, threshold=900.0),
    _spec("reacher-hard", Reacher, _SMALL, threshold=880.0),
    _spec("reacher-three-easy", ThreeLinkReacher, _LARGE, threshold=880.0),
    _spec("reacher-three-hard", ThreeLinkReacher, _SMALL, threshold=760.0),
)
