"""The tasks of MT30 that dm_control does not have, on dm_control's own domains.

Written out one simulation at a time and apart from the batched tasks, which they are to check:
nothing but the definitions is shared. Definitions: Hansen et al., "TD-MPC2", arXiv:2310.16828.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dm_control.rl.control import Environment
from dm_control.suite import ball_in_cup, base, cheetah, common, hopper, pendulum, reacher, walker
from dm_control.utils import rewards

# typed as giving an array, though it gives a number for a number
tolerance: Any = rewards.tolerance

_THREE_LINK_REACHER = """
<mujoco model="three-link planar reacher">
  <option timestep="0.02"><flag contact="disable"/></option>
  <default>
    <joint type="hinge" axis="0 0 1" damping="0.01"/>
    <geom type="capsule" size="0.01"/>
    <motor gear="0.05" ctrlrange="-1 1" ctrllimited="true"/>
  </default>
  <worldbody>
    <body name="upper_arm" pos="0 0 0.01">
      <joint name="shoulder"/>
      <geom name="upper_arm" fromto="0 0 0 0.09 0 0"/>
      <body name="forearm" pos="0.09 0 0">
        <joint name="elbow" limited="true" range="-80 80"/>
        <geom name="forearm" fromto="0 0 0 0.09 0 0"/>
        <body name="hand" pos="0.09 0 0">
          <joint name="wrist" limited="true" range="-80 80"/>
          <geom name="hand" fromto="0 0 0 0.10 0 0"/>
          <body name="finger" pos="0.09 0 0">
            <geom name="finger" type="sphere"/>
          </body>
        </body>
      </body>
    </body>
    <geom name="target" type="sphere" pos="0 0 0.01" size="0.05"/>
  </worldbody>
  <actuator>
    <motor name="shoulder" joint="shoulder"/>
    <motor name="elbow" joint="elbow"/>
    <motor name="wrist" joint="wrist"/>
  </actuator>
</mujoco>
"""


class _WalkerBackwards(walker.PlanarWalker):
    def get_reward(self, physics: Any) -> float:
        stand = tolerance(physics.torso_height(), (1.2, np.inf), margin=0.6)
        upright = (1 + physics.torso_upright()) / 2
        move = tolerance(
            physics.horizontal_velocity(),
            (-np.inf, -self._move_speed),
            margin=self._move_speed / 2,
            sigmoid="linear",
            value_at_margin=0.5,
        )
        return (3 * stand + upright) / 4 * (5 * move + 1) / 6


class _CheetahBackwards(cheetah.Cheetah):
    def get_reward(self, physics: Any) -> float:
        return tolerance(
            physics.speed(), (-np.inf, -8), margin=8, sigmoid="linear", value_at_margin=0
        )


class _CheetahOneFoot(cheetah.Cheetah):
    def __init__(self, foot_up: str, random: int) -> None:
        super().__init__(random=random)
        self._foot_up = foot_up

    def get_reward(self, physics: Any) -> float:
        foot_height = physics.named.data.xpos[self._foot_up, "z"]
        foot = tolerance(foot_height, (1.2, np.inf), margin=0.6)
        torso = tolerance(physics.named.data.xpos["torso", "z"], (1.2, np.inf), margin=0.6)
        run = tolerance(physics.speed(), (6, np.inf), margin=6, sigmoid="linear", value_at_margin=0)
        return (3 * foot + 2 * torso) / 5 * (5 * run + 1) / 6


class _CheetahJump(cheetah.Cheetah):
    def get_reward(self, physics: Any) -> float:
        torso_height = physics.named.data.xpos["torso", "z"]
        still = tolerance(
            physics.speed(), (-0.5, 0.5), margin=0.5, sigmoid="linear", value_at_margin=0
        )
        paid = []
        for foot in ("bfoot", "ffoot"):
            height = (torso_height + physics.named.data.xpos[foot, "z"]) / 2
            up = tolerance(height, (1.2, np.inf), margin=0.6)
            paid.append((5 * up + still) / 6)
        return sum(paid) / 2


class _HopperBackwards(hopper.Hopper):
    def get_reward(self, physics: Any) -> float:
        stand = tolerance(physics.height(), (0.6, 2))
        hop = tolerance(
            physics.speed(), (-np.inf, -1), margin=0.5, sigmoid="linear", value_at_margin=0.5
        )
        return stand * hop


class _CupSpin(ball_in_cup.BallInCup):
    def initialize_episode(self, physics: Any) -> None:
        anywhere = self.random.uniform(0, 1) < 0.1
        placed = False
        while not placed:
            physics.named.data.qpos["ball_x"] = self.random.uniform(-0.2, 0.2)
            physics.named.data.qpos["ball_z"] = self.random.uniform(0.2, 0.5)
            physics.after_reset()
            placed = physics.data.ncon == 0 and (anywhere or physics.in_target() == 1)
        base.Task.initialize_episode(self, physics)

    def get_reward(self, physics: Any) -> float:
        velocity = physics.named.data.qvel[["ball_x", "ball_z"]]
        distance = np.linalg.norm(physics.ball_to_target())
        far = tolerance(distance, (0.5, np.inf), margin=0.25, sigmoid="linear", value_at_margin=0.5)
        fast = tolerance(
            np.linalg.norm(velocity), (6, np.inf), margin=3, sigmoid="linear", value_at_margin=0.5
        )
        return (1 - physics.in_target()) * (far + 2 * fast) / 3


class _PendulumSpin(pendulum.SwingUp):
    def get_reward(self, physics: Any) -> float:
        return tolerance(
            abs(physics.angular_velocity()[0]),
            (9, np.inf),
            margin=4.5,
            sigmoid="linear",
            value_at_margin=0.5,
        )


@dataclass(frozen=True)
class Variation:
    """A task on the physics of `domain`, a module of dm_control's suite."""

    domain: Any
    task: Callable[[int], base.Task]
    control_timestep_s: float
    xml: str = ""


VARIATIONS: dict[str, Variation] = {
    "walker-walk-backwards": Variation(walker, lambda s: _WalkerBackwards(1, random=s), 0.025),
    "walker-run-backwards": Variation(walker, lambda s: _WalkerBackwards(8, random=s), 0.025),
    "cheetah-run-backwards": Variation(cheetah, lambda s: _CheetahBackwards(random=s), 0.01),
    "cheetah-run-front": Variation(cheetah, lambda s: _CheetahOneFoot("bfoot", random=s), 0.01),
    "cheetah-run-back": Variation(cheetah, lambda s: _CheetahOneFoot("ffoot", random=s), 0.01),
    "cheetah-jump": Variation(cheetah, lambda s: _CheetahJump(random=s), 0.01),
    "hopper-hop-backwards": Variation(
        hopper, lambda s: _HopperBackwards(hopping=True, random=s), 0.02
    ),
    "reacher-three-easy": Variation(
        reacher, lambda s: reacher.Reacher(0.05, random=s), 0.02, _THREE_LINK_REACHER
    ),
    "reacher-three-hard": Variation(
        reacher, lambda s: reacher.Reacher(0.015, random=s), 0.02, _THREE_LINK_REACHER
    ),
    "cup-spin": Variation(ball_in_cup, lambda s: _CupSpin(random=s), 0.02),
    "pendulum-spin": Variation(pendulum, lambda s: _PendulumSpin(random=s), 0.02),
}


def environment(variation: Variation, seed: int) -> Environment:
    """The dm_control environment of a variation: 1000 control steps an episode."""
    model = (
        (variation.xml, common.ASSETS) if variation.xml else variation.domain.get_model_and_assets()
    )
    return Environment(
        variation.domain.Physics.from_xml_string(*model),
        variation.task(seed),
        time_limit=1000 * variation.control_timestep_s,
        control_timestep=variation.control_timestep_s,
    )
