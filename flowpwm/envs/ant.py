"""A heavy four-legged robot that runs along x: DFlex's Ant, rebuilt on MuJoCo.

Robot, start, observation and reward are those of the Ant of DiffRL's DFlex simulator, which SHAC
(Xu et al., arXiv:2204.07137) and PWM (Georgiev et al., arXiv:2407.02466) train on. It is not
Gymnasium's Ant, which is 200 times lighter and has other torques.

Contact and joint-limit physics are MuJoCo's, calibrated so that an untrained robot falls much as it
does there: without action after 94 steps with a return of 120 (DFlex: 122 and 154), under uniform
random actions after 72 with 92 (DFlex: 81 and 105). Trained returns still differ. Compare them with
published ones, such as PWM's 9,549, in shape only and never in digits. Standing upright without
moving forward pays about 1.35 a step, a little more when stretched up, so 1,200 to 1,450 an
episode: a policy that earns this has learned to stand, not to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from flowpwm.envs.base import Ids, TaskSpec, VectorEnv
from flowpwm.envs.physics import Physics, mj

_STEP_S = 1.0 / 60.0
# DFlex's penalty contacts need 16 substeps a step. MuJoCo's do not: 4, 5, 8 and 16 gave untrained
# returns that agree within their noise, and 4 run three times as fast as 16.
_SUBSTEPS = 4
_TORQUE = 200.0  # N m at an action of 1
_FALLEN = 0.27  # m, height of the torso's centre
_TARGET_X = 10_000.0  # m

_DENSITY = 1000.0  # kg/m^3
_RADIUS = 0.08  # m, of the legs' capsules
_TORSO_RADIUS = 0.25
_FRICTION = 0.75
_ARMATURE = 0.05
# 1 of the joint and 10 of its limit: DFlex damps by both at every angle
_DAMPING = 11.0
_LIMIT_STIFFNESS = 1000.0  # N m/rad
_LIMIT_DAMPING = 10.0  # N m s/rad
_LIMIT_IMPEDANCE = (0.5, 0.5, 0.001, 0.5, 2.0)
_CONTACT_SPRING = (0.02, 1.0)  # time constant in s, damping ratio
_CONTACT_IMPEDANCE = (0.5, 0.5, 0.01, 0.5, 2.0)

# Legs 1 to 4: where they point, and the sign of the ankle angle that bends the foot down.
_LEGS = ((1.0, 1.0, 1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, -1.0), (1.0, -1.0, 1.0))
_HIP_LIMIT = np.deg2rad((-40.0, 40.0))
_ANKLE_LIMIT = np.deg2rad((30.0, 100.0))

_START_HEIGHT = 0.75
_START_JOINTS = np.array([angle for *_, bend in _LEGS for angle in (0.0, bend)])
_NOISE_POSITION = 0.1  # m, each coordinate
_NOISE_ROTATION = np.deg2rad(7.5)  # about a random axis
_NOISE_JOINTS = 0.2  # rad
_NOISE_VELOCITY = 0.25  # m/s and rad/s, each component


class Ant(VectorEnv):
    """Paid for running along x, upright and facing there; an episode ends when the torso is low.

    Observation, in a frame whose y axis points up (MuJoCo's (x, y, z) is (x, z, -y) there): torso
    height in m; torso orientation as a quaternion (x, y, z, w) that includes the quarter turn
    between the frames; linear and angular velocity of the torso in the world, in m/s and rad/s;
    hip_1, ankle_1, ... hip_4, ankle_4 in rad and a tenth of their velocities in rad/s; cosine
    between the torso's up axis and the world's; cosine between its x axis and the horizontal
    direction to a target 10 km ahead; the action that led here, 0 at a start.

    Reward: v_x + 0.1 up + heading + (height - 0.27), of the state the action led to, or with
    "pre_step", as in PWM's own fork of DFlex, of the state it was chosen in. The action itself
    costs nothing. Terminates below a height of 0.27 m, by the state reached in both cases.

    Start: height 0.75 m, feet bent by 1 rad, with uniform noise on everything.
    """

    def __init__(
        self, spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int
    ) -> None:
        super().__init__(spec, num_envs, rng)
        self._pays_before = spec.reward_timings[0] == "pre_step"
        self.physics = Physics(ant_model(), spec.name, num_envs, num_threads)
        self._rotation = self.physics.field("xmat")[:, self.physics.body("torso")]

    def close(self) -> None:
        """Free the simulator as well."""
        if not self._closed:
            super().close()
            del self.physics, self._rotation

    def _initialize(self, ids: Ids) -> None:
        n = ids.size
        physics, uniform = self.physics, self._rng.uniform
        physics.reset(ids)
        physics.qpos[ids, :3] = uniform(-_NOISE_POSITION, _NOISE_POSITION, (n, 3))
        physics.qpos[ids, 2] += _START_HEIGHT
        axis = self._rng.standard_normal((n, 3))
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        half_angle = 0.5 * uniform(-_NOISE_ROTATION, _NOISE_ROTATION, (n, 1))
        physics.qpos[ids, 3:4] = np.cos(half_angle)
        physics.qpos[ids, 4:7] = np.sin(half_angle) * axis
        physics.qpos[ids, 7:] = _START_JOINTS + uniform(-_NOISE_JOINTS, _NOISE_JOINTS, (n, 8))
        physics.qvel[ids] = uniform(-_NOISE_VELOCITY, _NOISE_VELOCITY, (n, 14))
        physics.forward(ids)

    def _advance(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, " B"], Bool[np.ndarray, " B"]]:
        before = self._worth() if self._pays_before else None
        self.physics.ctrl[:] = action
        self.physics.step(_SUBSTEPS)
        reward = self._worth() if before is None else before
        return reward, self.physics.qpos[:, 2] < _FALLEN

    def _observe(self) -> Float64[np.ndarray, "B O"]:
        qpos, qvel = self.physics.qpos, self.physics.qvel
        obs = np.empty((self.num_envs, self.obs_dim))
        obs[:, 0] = qpos[:, 2]
        obs[:, 1:5] = _quarter_turned(qpos[:, 3:7])
        # MuJoCo keeps a free body's linear velocity in the world, its angular one in the body
        obs[:, 5:8] = _y_up(qvel[:, :3])
        rotation = self._rotation.reshape(-1, 3, 3)
        obs[:, 8:11] = _y_up((rotation @ qvel[:, 3:6, None])[:, :, 0])
        obs[:, 11:19] = qpos[:, 7:]
        obs[:, 19:27] = 0.1 * qvel[:, 6:]
        obs[:, 27] = self._up()
        obs[:, 28] = self._heading()
        obs[:, 29:] = self.physics.ctrl
        return obs

    def _worth(self) -> Float64[np.ndarray, " B"]:
        height, forward_speed = self.physics.qpos[:, 2], self.physics.qvel[:, 0]
        return forward_speed + 0.1 * self._up() + self._heading() + (height - _FALLEN)

    def _up(self) -> Float64[np.ndarray, " B"]:
        return self._rotation[:, 8]

    def _heading(self) -> Float64[np.ndarray, " B"]:
        to_x, to_y = _TARGET_X - self.physics.qpos[:, 0], -self.physics.qpos[:, 1]
        along = self._rotation[:, 0] * to_x + self._rotation[:, 3] * to_y
        return along / np.hypot(to_x, to_y)

    def _simulation_state(self) -> dict[str, Any]:
        return self.physics.state_dict()

    def _load_simulation_state(self, state: Mapping[str, Any]) -> None:
        self.physics.load_state_dict(state)


def ant_model() -> Any:
    """The robot's `MjModel`: 182.18 kg, 8 hinges, each with a motor in the order of the joints."""
    description = mj.MjSpec()
    description.compiler.degree = False
    description.option.timestep = _STEP_S / _SUBSTEPS
    world = description.worldbody
    floor = world.add_geom(name="floor", type=mj.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0])
    torso = world.add_body(name="torso", pos=[0.0, 0.0, _START_HEIGHT])
    torso.add_freejoint(name="root")
    torso.add_geom(name="torso", type=mj.mjtGeom.mjGEOM_SPHERE, size=[_TORSO_RADIUS, 0.0, 0.0])
    for number, (x, y, bend) in enumerate(_LEGS, start=1):
        reach = np.array([0.2 * x, 0.2 * y, 0.0])
        _add_capsule(torso, f"shoulder_{number}", reach)
        upper = torso.add_body(name=f"upper_leg_{number}", pos=reach)
        _add_motor(description, upper, f"hip_{number}", (0.0, 0.0, 1.0), _HIP_LIMIT)
        _add_capsule(upper, f"upper_leg_{number}", reach)
        lower = upper.add_body(name=f"lower_leg_{number}", pos=reach)
        # across the leg: legs 1 and 3 share one axis, legs 2 and 4 the other
        axis = (-1.0, 1.0, 0.0) if x == y else (1.0, 1.0, 0.0)
        _add_motor(description, lower, f"ankle_{number}", axis, np.sort(bend * _ANKLE_LIMIT))
        _add_capsule(lower, f"lower_leg_{number}", 2.0 * reach)
    for geom in description.geoms:
        geom.density = _DENSITY
        geom.friction[0] = _FRICTION
        geom.solref[:] = _CONTACT_SPRING
        geom.solimp[:] = _CONTACT_IMPEDANCE
        # the robot touches the floor only, not itself
        geom.contype, geom.conaffinity = (1, 0) if geom is floor else (0, 1)
    model = description.compile()
    _soften_limits(model)
    return model


def _add_capsule(body: Any, name: str, end: np.ndarray) -> None:
    capsule, ends = mj.mjtGeom.mjGEOM_CAPSULE, [0.0, 0.0, 0.0, *end]
    body.add_geom(name=name, type=capsule, fromto=ends, size=[_RADIUS, 0.0, 0.0])


def _add_motor(
    description: Any, body: Any, name: str, axis: tuple[float, float, float], limit: np.ndarray
) -> None:
    joint = body.add_joint(name=name, axis=axis, range=limit, armature=_ARMATURE)
    joint.limited = mj.mjtLimited.mjLIMITED_TRUE
    joint.damping[0] = _DAMPING
    motor = description.add_actuator(name=name, target=name, trntype=mj.mjtTrn.mjTRN_JOINT)
    motor.gear[0] = _TORQUE


def _soften_limits(model: Any) -> None:
    """Make the joint limits springs of `_LIMIT_STIFFNESS`, where MuJoCo's own hardly give.

    In the direct format, with constant impedance d, MuJoCo asks at a violation r for the joint
    acceleration (1 - d) a - s r, where a is the one without the limit and -s the first number of
    `solref`. At rest under a torque t, where a = t w for the joint's inverse inertia w, this is 0
    at r = t w (1 - d) / s; so s = K w (1 - d) gives a spring of stiffness K, and likewise a damper.
    """
    share = 1.0 - _LIMIT_IMPEDANCE[0]
    hinges = model.jnt_type == mj.mjtJoint.mjJNT_HINGE
    inverse_inertia = model.dof_invweight0[model.jnt_dofadr[hinges]]
    model.jnt_solimp[hinges] = _LIMIT_IMPEDANCE
    model.jnt_solref[hinges, 0] = -_LIMIT_STIFFNESS * share * inverse_inertia
    model.jnt_solref[hinges, 1] = -_LIMIT_DAMPING * share * inverse_inertia


def _y_up(vector: Float64[np.ndarray, "B 3"]) -> Float64[np.ndarray, "B 3"]:
    x, y, z = vector.T
    return np.column_stack((x, z, -y))


def _quarter_turned(wxyz: Float64[np.ndarray, "B 4"]) -> Float64[np.ndarray, "B 4"]:
    """A turn of -90 degrees about x after the rotation `wxyz`, as (x, y, z, w)."""
    w, x, y, z = np.sqrt(0.5) * wxyz.T
    return np.column_stack((x - w, y + z, z - y, w + x))


def _build(spec: TaskSpec, num_envs: int, rng: np.random.Generator, num_threads: int) -> Ant:
    return Ant(spec, num_envs, rng, num_threads)


SPECS = (
    TaskSpec(
        name="ant",
        layout=(
            ("height", 1),
            ("orientation", 4),
            ("velocity", 3),
            ("angular_velocity", 3),
            ("joint_angles", 8),
            ("joint_velocities", 8),
            ("up", 1),
            ("heading", 1),
            ("action", 8),
        ),
        action_dim=8,
        episode_length=1000,
        # nothing bounds the speed: these hold for up to 10 m/s either way and more ahead
        return_low=-12_000.0,
        return_high=15_000.0,
        # on DFlex, a tenth below PPO's 6,605; what this physics allows has not been measured
        threshold=6_000.0,
        build=_build,
        reward_timings=("post_step", "pre_step"),
        terminates=True,
    ),
)
