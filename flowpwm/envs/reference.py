"""dm_control itself, one simulation at a time: what the batched suite tasks are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dm_control import suite
from dm_env import TimeStep
from jaxtyping import Float64

from flowpwm.envs import make
from flowpwm.envs.control_suite import SuiteEnv
from flowpwm.envs.physics import mj


@dataclass(frozen=True)
class Difference:
    """Largest absolute differences over all simulations and control steps, before any cast."""

    obs: float
    reward: float


class Reference:
    """`num_envs` dm_control environments of one task, stepped in a Python loop."""

    def __init__(self, task: str, num_envs: int, seed: int) -> None:
        domain, name = task.split("-", maxsplit=1)
        self.envs = [
            suite.load(domain, name.replace("-", "_"), task_kwargs={"random": seed + i})
            for i in range(num_envs)
        ]

    def reset(self) -> Float64[np.ndarray, "B O"]:
        """Start a new episode in each."""
        return np.stack([flat_observation(env.reset()) for env in self.envs])

    def control_step(
        self, action: Float64[np.ndarray, "B A"]
    ) -> tuple[Float64[np.ndarray, "B O"], Float64[np.ndarray, " B"]]:
        """Observation and reward after one control step of each."""
        steps = [env.step(a) for env, a in zip(self.envs, action, strict=True)]
        return np.stack([flat_observation(s) for s in steps]), np.array([s.reward for s in steps])

    def copy_into(self, env: SuiteEnv) -> None:
        """Put `env` into the present states, warm start and model fields included."""
        saved = env.state_dict()
        simulation = saved["simulation"]
        for i, reference in enumerate(self.envs):
            model, data = reference.physics.model, reference.physics.data
            mj.mj_getState(
                model.ptr, data.ptr, simulation["rows"][i], mj.mjtState.mjSTATE_INTEGRATION
            )
            for name, values in simulation["model"].items():
                values[i] = getattr(model, name)
        env.load_state_dict(saved)


def flat_observation(step: TimeStep) -> Float64[np.ndarray, " O"]:
    """A dm_control observation as one vector, its parts in their order."""
    return np.concatenate([np.ravel(part) for part in step.observation.values()])


def max_difference(task: str, num_envs: int, control_steps: int, seed: int) -> Difference:
    """Run both from dm_control's start states on the same uniform random actions."""
    reference = Reference(task, num_envs, seed)
    env = make(task, num_envs, seed)
    if not isinstance(env, SuiteEnv):
        raise ValueError(f"{task!r} is not a task of the control suite")
    env.reset()
    expected = reference.reset()
    reference.copy_into(env)
    obs_error, reward_error = np.abs(expected - env.task.observe()).max(), 0.0
    rng = np.random.default_rng(seed)
    for _ in range(control_steps):
        action = rng.uniform(-1.0, 1.0, (num_envs, env.action_dim))
        expected, reward = reference.control_step(action)
        env.control_step(action)
        obs_error = max(obs_error, np.abs(expected - env.task.observe()).max())
        reward_error = max(reward_error, np.abs(reward - env.task.reward()).max())
    return Difference(float(obs_error), float(reward_error))
