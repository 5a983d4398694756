"""Environments of a user that leak or hang, each in one way.

Only the copies for training misbehave, of which there are 8; an evaluation has fewer. Does not
import Ray: a sweep names its tasks before Ray may be loaded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

MIB = 2**20
TRAINED = 8
LEAK_S = 0.02  # for 1 MiB: 50 MiB a second


class Misbehaving(VectorWrapper):
    """Gymnasium's pendulum, until it is told to be worse."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(
            gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")
        )
        self.steps = 0
        self.kept: list[np.ndarray] = []

    def step(self, actions: Any) -> Any:
        self.steps += 1
        if self.num_envs == TRAINED:
            self.misbehave()
        return self.env.step(actions)

    def leak(self) -> None:
        self.kept.append(np.ones(MIB, dtype=np.uint8))
        time.sleep(LEAK_S)

    def misbehave(self) -> None:
        raise NotImplementedError


class Unlucky(Misbehaving):
    """Breaks in its fourth epoch, in the training with seed 7 alone."""

    unlucky = False

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        # What the adapter draws from a training's seed.
        drawn = np.random.default_rng(7).integers(2**31)
        self.unlucky = self.unlucky or seed == drawn
        return self.env.reset(seed=seed, options=options)

    def misbehave(self) -> None:
        if self.unlucky and self.steps == 16:
            raise RuntimeError("out of luck")


class Leaky(Misbehaving):
    """Loses memory at every step; an epoch takes a tenth of a second."""

    def misbehave(self) -> None:
        self.leak()


class LeakyEpoch(Misbehaving):
    """Loses memory within its tenth epoch, which has no end."""

    def misbehave(self) -> None:
        while self.steps == 40:
            self.leak()


class Stuck(Misbehaving):
    """Never comes back in its tenth epoch."""

    def misbehave(self) -> None:
        if self.steps == 40:
            time.sleep(600)


class Walk(VectorEnv):
    """A random walk that behaves, and that can be saved and restored."""

    max_episode_steps = 7
    single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    single_action_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, num_envs: int) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.x = np.zeros((num_envs, 2), np.float32)
        self.no = np.zeros(num_envs, bool)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self.x[mask] = self.np_random.normal(size=(mask.sum(), 2))
        return self.x.copy(), {}

    def step(self, actions: Any) -> Any:
        self.x += actions + 0.1 * self.np_random.normal(size=self.x.shape)
        return self.x.copy(), -np.abs(self.x).sum(axis=1), self.no, self.no, {}

    def state_dict(self) -> dict[str, Any]:
        return {"x": self.x, "generator": self.np_random.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.x[:] = state["x"]
        self.np_random.bit_generator.state = state["generator"]


class LeakyWalk(Walk):
    """The same, but it loses 4 MiB at every step."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.kept: list[np.ndarray] = []

    def step(self, actions: Any) -> Any:
        if self.num_envs == TRAINED:
            self.kept.append(np.ones(4 * MIB, dtype=np.uint8))
            time.sleep(LEAK_S)
        return super().step(actions)


class Unplugged(Walk):
    """The same, which no step can be taken in before a file is there."""

    def step(self, actions: Any) -> Any:
        if not os.path.exists(os.environ["PLUG"]):
            raise RuntimeError("the licence server does not answer")
        return super().step(actions)
