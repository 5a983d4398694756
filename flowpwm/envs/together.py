"""Environments of several tasks behind one interface, padded to the sizes of a task set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from flowpwm.envs import make
from flowpwm.envs.base import Step, VectorEnv
from flowpwm.envs.tasks import TaskSet


class TaskEnvs:
    """`each` environments of every task of `names`, stepped together; tasks in blocks.

    Observations are padded with zeros to the width of `tasks`; of a padded action every task takes
    the components that it has. `task` holds each environment's task id in `tasks`.
    """

    def __init__(
        self,
        tasks: TaskSet,
        names: tuple[str, ...],
        each: int,
        seed: int,
        num_threads: int = 1,
        reward_timing: str | None = None,
    ) -> None:
        timing = {} if reward_timing is None else {"reward_timing": reward_timing}
        self.tasks, self.names, self.each = tasks, names, each
        self.envs: list[VectorEnv] = [make(n, each, seed, num_threads, **timing) for n in names]
        self.num_envs = each * len(names)
        self.task: Int64[np.ndarray, " B"] = np.repeat([tasks.index(n) for n in names], each)

    def reset(self) -> Float32[np.ndarray, "B O"]:
        """Start a new episode in every environment."""
        return np.concatenate([self._padded(env.reset()) for env in self.envs])

    def step(self, action: Float[np.ndarray, "B A"]) -> Step:
        """Advance every environment by one step; raises as `VectorEnv.step` does."""
        parts = []
        for i, env in enumerate(self.envs):
            own = action[i * self.each : (i + 1) * self.each, : env.action_dim]
            step = env.step(own)
            parts.append(
                step._replace(obs=self._padded(step.obs), final_obs=self._padded(step.final_obs))
            )
        if len(parts) == 1:
            return parts[0]
        return Step(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """What a bit-exact continuation needs, task by task."""
        return {name: env.state_dict() for name, env in zip(self.names, self.envs, strict=True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> bool:
        """Whether all go on from what `state_dict` gave; if not, `reset` has to follow.

        Raises ValueError for other tasks.
        """
        if set(state) != set(self.names):
            raise ValueError(f"the saved tasks are {sorted(state)}, here {sorted(self.names)}")
        named = zip(self.names, self.envs, strict=True)
        loaded = [env.load_state_dict(state[name]) for name, env in named]
        return all(loaded)

    def close(self) -> None:
        """Free the simulators."""
        for env in self.envs:
            env.close()

    def _padded(self, obs: Float32[np.ndarray, "n o"]) -> Float32[np.ndarray, "n O"]:
        missing = self.tasks.obs_dim - obs.shape[1]
        return np.pad(obs, ((0, 0), (0, missing))) if missing else obs
