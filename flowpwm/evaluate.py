"""Returns of real episodes under the deterministic policy, all episodes in parallel."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from flowpwm.agent import Agent
from flowpwm.config import EvaluationConfig, RunConfig
from flowpwm.envs import spec
from flowpwm.envs.together import TaskEnvs
from flowpwm.report import Evaluation


@runtime_checkable
class Actor(Protocol):
    """Whatever chooses actions for padded observations of tasks."""

    def act(self, obs: Float[np.ndarray, "B O"], task: Int64[Tensor, " B"]) -> Float[Tensor, "B A"]:
        """Deterministic actions."""
        ...


class Evaluator:
    """Plays the same `episodes` start states of every task at every call, so that runs share them.

    Every observation is encoded anew and only the environment's rewards count.
    """

    def __init__(self, config: RunConfig, evaluation: EvaluationConfig | None = None):
        evaluation = config.evaluation if evaluation is None else evaluation
        self.envs = TaskEnvs(
            config.covered_tasks,
            config.task_names,
            evaluation.episodes,
            evaluation.seed,
            config.num_threads,
            config.reward_timing,
        )
        self.steps = 0  # of all environments, in all calls: shows that an evaluation goes on
        self.first_obs = self.envs.reset()
        self.start = self.envs.state_dict()
        self.task = torch.as_tensor(self.envs.task, device=config.device)
        timing = "" if config.reward_timing == "post_step" else f"/{config.reward_timing}"
        self.protocol = f"deterministic/{evaluation.episodes}x/seed{evaluation.seed}{timing}"

    def __call__(self, actor: Agent | Actor) -> tuple[Evaluation, ...]:
        """Play every episode to its end; one evaluation a task, in the run's order."""
        envs = self.envs
        n = envs.num_envs
        obs = self.first_obs if envs.load_state_dict(self.start) else envs.reset()
        returns, lengths = np.zeros(n), np.zeros(n, dtype=np.int64)
        running = np.ones(n, dtype=bool)
        while running.any():
            step = envs.step(actor.act(obs, self.task).cpu().numpy())
            self.steps += n
            returns += np.where(running, step.reward, 0.0)
            lengths += running
            running &= ~(step.terminated | step.truncated)
            obs = step.obs
        each = envs.each
        return tuple(
            Evaluation(
                task,
                returns[i * each : (i + 1) * each],
                lengths[i * each : (i + 1) * each],
                f"{task}/{self.protocol}",
                spec(task).threshold,
            )
            for i, task in enumerate(envs.names)
        )

    def close(self) -> None:
        """Free the simulators."""
        self.envs.close()
