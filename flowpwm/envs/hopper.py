"""A planar one-legged hopper that stands and hops, forwards or backwards."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids, TaskSpec
from flowpwm.envs.control_suite import SuiteTask, draw_joints, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

_STAND_HEIGHT = 0.6
_HIGHEST = 2.0
_HOP_SPEED = 2.0
_BACKWARDS_SPEED = 1.0


class Hopper(SuiteTask):
    """What the tasks share: a start in any pose, falling, and what is observed.

    Start: dm_control suite/hopper.py, `Hopper`.
    """

    domain = "hopper"
    substeps = 4

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        centre = physics.field("xipos")
        self._torso, self._foot = (centre[:, physics.body(name), 2] for name in ("torso", "foot"))
        self._velocity = physics.sensor("torso_subtreelinvel")[:, 0]
        self._touch = [physics.sensor(name)[:, 0] for name in ("touch_toe", "touch_heel")]

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Uniform torso and joint angles, at rest."""
        draw_joints(self.physics, ids, rng, unlimited=True)

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Positions but the horizontal one, velocities, touch of toe and heel (log N)."""
        touch = np.log1p(np.column_stack(self._touch))
        return np.concatenate((self.physics.qpos[:, 1:], self.physics.qvel, touch), axis=1)

    def _standing(self) -> Float64[np.ndarray, " B"]:
        """1 with the torso 0.6 to 2 m above the foot, else 0."""
        return tolerance(self._torso - self._foot, _STAND_HEIGHT, _HIGHEST)


class HopperStand(Hopper):
    """Paid while standing, a little less for large actions. Reward: as the start."""

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Four parts standing to one part gentleness."""
        gentle = tolerance(
            self.physics.ctrl, margin=1.0, decay="quadratic", value_at_margin=0.0
        ).mean(axis=1)
        return self._standing() * ((gentle + 4.0) / 5.0)


class HopperHop(Hopper):
    """Paid, while standing, in proportion to the speed: up to 2 m/s, or 1 m/s backwards.

    Reward: as the start; backwards: MT30.
    """

    def __init__(self, physics: Physics, backwards: bool) -> None:
        super().__init__(physics)
        self._backwards = backwards

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Standing times speed, of which half the wanted one is worth one half."""
        wanted = _BACKWARDS_SPEED if self._backwards else _HOP_SPEED
        hopping = tolerance(
            -self._velocity if self._backwards else self._velocity,
            wanted,
            np.inf,
            margin=wanted / 2.0,
            decay="linear",
            value_at_margin=0.5,
        )
        return self._standing() * hopping


def _spec(name: str, task: type[Hopper], threshold: float, **options: bool) -> TaskSpec:
    layout = (("position", 6), ("velocity", 7), ("touch", 2))
    return suite_spec(name, task, layout, action_dim=4, threshold=threshold, **options)


SPECS = (
    _spec("hopper-stand", HopperStand, threshold=850.0),
    _spec("hopper-hop", HopperHop, threshold=330.0, backwards=False),
    _spec("hopper-hop-backwards", HopperHop, threshold=730.0, backwards=True),
)
