"""A fish that swims to a target in still water."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from flowpwm.envs.base import Ids
from flowpwm.envs.control_suite import SuiteTask, norm, suite_spec
from flowpwm.envs.physics import Physics
from flowpwm.envs.rewards import tolerance

# positions: 3 of the torso, its quaternion, then the joints in the order they are observed
_QUATERNION = slice(3, 7)
_JOINTS = slice(7, 14)
_BENT = 0.2


class FishSwim(SuiteTask):
    """Paid for the mouth near the target and, a little, for keeping upright.

    Reward and start: dm_control suite/fish.py, `Swim`.
    """

    domain = "fish"
    substeps = 10

    def __init__(self, physics: Physics) -> None:
        super().__init__(physics)
        target, mouth = physics.geom("target"), physics.geom("mouth")
        position = physics.field("geom_xpos")
        self._target, self._mouth = position[:, target], position[:, mouth]
        self._mouth_rotation = physics.field("geom_xmat")[:, mouth].reshape(-1, 3, 3)
        self._upright = physics.field("xmat")[:, physics.body("torso"), 8]
        self._target_in_model = physics.per_simulation("geom_pos")[:, target]
        self._reach = float(physics.model.geom_size[[mouth, target], 0].sum())

    def start(self, ids: Ids, rng: np.random.Generator) -> None:
        """Any orientation, slightly bent joints, at rest; the target uniform in a box."""
        qpos = self.physics.qpos
        quaternion = rng.standard_normal((ids.size, 4))
        qpos[ids, _QUATERNION] = quaternion / norm(quaternion)[:, None]
        qpos[ids, _JOINTS] = rng.uniform(-_BENT, _BENT, (ids.size, 7))
        box = (-0.4, -0.4, 0.1), (0.4, 0.4, 0.3)
        self._target_in_model[ids] = rng.uniform(*box, (ids.size, 3))

    def observe(self) -> Float64[np.ndarray, "B O"]:
        """Joint angles, uprightness, target from the mouth in the mouth's frame, velocities."""
        physics = self.physics
        return np.column_stack(
            (physics.qpos[:, _JOINTS], self._upright, self._to_target(), physics.qvel)
        )

    def reward(self) -> Float64[np.ndarray, " B"]:
        """Seven parts nearness to one part uprightness."""
        near = tolerance(norm(self._to_target()), 0.0, self._reach, margin=2.0 * self._reach)
        return (7.0 * near + 0.5 * (self._upright + 1.0)) / 8.0

    def _to_target(self) -> Float64[np.ndarray, "B 3"]:
        return np.matmul((self._target - self._mouth)[:, None], self._mouth_rotation)[:, 0]


SPECS = (
    suite_spec(
        "fish-swim",
        FishSwim,
        layout=(("joint_angles", 7), ("upright", 1), ("target", 3), ("velocity", 13)),
        action_dim=5,
        threshold=700.0,
    ),
)
