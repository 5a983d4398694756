"""Returns of real episodes under the deterministic policy, all episodes in parallel."""

from __future__ import annotations

import numpy as np

from flowpwm.agent import Agent
from flowpwm.config import EvaluationConfig
from flowpwm.envs import make
from flowpwm.report import Evaluation


class Evaluator:
    """Plays the same `episodes` start states at every call, so that runs and arms share them.

    Every observation is encoded anew and only the environment's rewards count.
    """

    def __init__(self, task: str, config: EvaluationConfig, num_threads: int = 1):
        self.env = make(task, config.episodes, seed=config.seed, num_threads=num_threads)
        self.first_obs = self.env.reset()
        self.start = self.env.state_dict()
        self.protocol = f"{task}/deterministic/{config.episodes}x/seed{config.seed}"

    def __call__(self, agent: Agent) -> Evaluation:
        """Play every episode to its end under the deterministic policy."""
        self.env.load_state_dict(self.start)
        obs, n = self.first_obs, self.env.num_envs
        returns, lengths = np.zeros(n), np.zeros(n, dtype=np.int64)
        running = np.ones(n, dtype=bool)
        while running.any():
            step = self.env.step(agent.act(obs).cpu().numpy())
            returns += np.where(running, step.reward, 0.0)
            lengths += running
            running &= ~(step.terminated | step.truncated)
            obs = step.obs
        return Evaluation(returns, lengths, self.protocol)

    def close(self) -> None:
        """Free the simulators."""
        self.env.close()
