"""dm_control itself, one simulation at a time: what the batched suite tasks are held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dm_control import suite
from dm_control.rl.control import Environment
from dm_env import TimeStep
from jaxtyping import Float64

from flowpwm.envs import make
from flowpwm.envs.control_suite import SuiteEnv
from flowpwm.envs.physics import mj
from flowpwm.envs.reference_variations import VARIATIONS, environment

# dm_control's name of a domain where a task's name has another
_DOMAINS = {"cup": "ball_in_cup"}


@dataclass(frozen=True)
class Difference:
    """Largest absolute differences over all simulations and control steps, before any cast."""

    obs: float
    reward: float


class Reference:
    """`num_envs` dm_control environments of one task, stepped in a Python loop."""

    def __init__(self, task: str, num_envs: int, seed: int) -> None:
        self.task = task
        self.envs = [load(task, seed + i) for i in range(num_envs)]

    def seed(self, seed: int) -> None:
        """Rewind the generators: the environments go on as newly built with `seed`."""
        for i, env in enumerate(self.envs):
            task: Any = env.task
            task.random.seed(seed + i)

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
        for i, reference in enumerate(self.envs):
            copy_state(reference, saved["simulation"], i)
        env.load_state_dict(saved)


def load(task: str, seed: int) -> Environment:
    """The task in dm_control: of its suite, or a variation on one of its domains."""
    if task in VARIATIONS:
        return environment(VARIATIONS[task], seed)
    domain, name = task.split("-", maxsplit=1)
    domain, name = _DOMAINS.get(domain, domain), name.replace("-", "_")
    return suite.load(domain, name, task_kwargs={"random": seed})


def copy_state(reference: Environment, simulation: dict[str, Any], i: int) -> None:
    """Write the present state and model fields into row `i` of a saved batch of simulations."""
    physics: Any = reference.physics
    row, everything = simulation["rows"][i], mj.mjtState.mjSTATE_INTEGRATION
    mj.mj_getState(physics.model.ptr, physics.data.ptr, row, everything)
    for name, values in simulation["model"].items():
        values[i] = getattr(physics.model, name)


def flat_observation(step: TimeStep) -> Float64[np.ndarray, " O"]:
    """A dm_control observation as one vector, its parts in their order."""
    return np.concatenate([np.ravel(part) for part in step.observation.values()])


def max_difference(reference: Reference, control_steps: int, seed: int) -> Difference:
    """Run both from dm_control's start states on the same uniform random actions."""
    num_envs = len(reference.envs)
    env = make(reference.task, num_envs, seed)
    if not isinstance(env, SuiteEnv):
        raise ValueError(f"{reference.task!r} is not a task of the control suite")
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
