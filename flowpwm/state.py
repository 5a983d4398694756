"""Everything that a training run is at one moment: enough to go on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from flowpwm.agent import Agent
from flowpwm.averages import Averages
from flowpwm.buffer import Buffer
from flowpwm.config import RunConfig
from flowpwm.envs import VectorEnv, make
from flowpwm.evaluate import Evaluator
from flowpwm.returns import RunningScale

PHASES = ("environment", "world_model", "actor", "critic", "evaluation")


@dataclass
class TrainState:
    """Holds, does not act: `train` changes it, `checkpoint` saves it."""

    config: RunConfig
    agent: Agent
    optimisers: dict[str, torch.optim.Adam]
    env: VectorEnv
    evaluator: Evaluator
    buffer: Buffer
    generator: torch.Generator
    obs: np.ndarray  # [B, O], what the agent sees next
    episode_return: np.ndarray  # [B], of the episodes under way
    episode_length: np.ndarray  # [B], env steps
    scale: RunningScale = field(default_factory=RunningScale)
    averages: Averages = field(default_factory=Averages)
    epoch: int = 0
    env_steps: int = 0
    updates: int = 0
    recent_scores: list[float] = field(default_factory=list)  # newest SCORE_WINDOW evaluations
    best_score: float | None = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*PHASES, "wall"), 0.0))

    @staticmethod
    def start(config: RunConfig) -> TrainState:
        """A run before its first epoch; all randomness comes from `config.seed`."""
        device = torch.device(config.device)
        agent = Agent.seeded(config)
        env = make(config.task, config.num_envs, seed=config.seed, num_threads=config.num_threads)
        return TrainState(
            config=config,
            agent=agent,
            optimisers=_optimisers(agent, config),
            env=env,
            evaluator=Evaluator(config.task, config.evaluation, config.num_threads),
            buffer=Buffer(
                # Never larger than the run can fill.
                min(config.buffer_capacity, config.epochs * config.horizon * config.num_envs),
                config.num_envs,
                env.obs_dim,
                env.action_dim,
                device,
            ),
            generator=torch.Generator(device).manual_seed(config.seed),
            obs=env.reset(),
            episode_return=np.zeros(config.num_envs),
            episode_length=np.zeros(config.num_envs, dtype=np.int64),
        )

    @property
    def score(self) -> float | None:
        """Mean of the newest evaluations, None before the first."""
        return float(np.mean(self.recent_scores)) if self.recent_scores else None

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python only, so that it loads without executing pickles."""
        return {
            "agent": self.agent.state_dict(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "env": _to_tensors(self.env.state_dict()),
            "buffer": self.buffer.state_dict(),
            "generator": self.generator.get_state(),
            "obs": torch.from_numpy(self.obs),
            "episode_return": torch.from_numpy(self.episode_return),
            "episode_length": torch.from_numpy(self.episode_length),
            "scale": self.scale.state_dict(),
            "averages": self.averages.state_dict(),
            "epoch": self.epoch,
            "env_steps": self.env_steps,
            "updates": self.updates,
            "recent_scores": list(self.recent_scores),
            "best_score": self.best_score,
            "seconds": dict(self.seconds),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.agent.load_state_dict(state["agent"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.env.load_state_dict(_to_arrays(state["env"]))
        self.buffer.load_state_dict(state["buffer"])
        self.generator.set_state(state["generator"])
        self.obs = state["obs"].numpy()
        self.episode_return = state["episode_return"].numpy()
        self.episode_length = state["episode_length"].numpy()
        self.scale.load_state_dict(state["scale"])
        self.averages.load_state_dict(state["averages"])
        for name in ("epoch", "env_steps", "updates", "recent_scores", "best_score", "seconds"):
            setattr(self, name, state[name])

    def close(self) -> None:
        """Free the simulators."""
        self.env.close()
        self.evaluator.close()


def _optimisers(agent: Agent, config: RunConfig) -> dict[str, torch.optim.Adam]:
    optim = config.optim
    modules: dict[str, tuple[nn.Module, float]] = {
        "world_model": (agent.world_model, optim.wm_lr),
        "actor": (agent.policy, optim.actor_lr),
        "critic": (agent.critic, optim.critic_lr),
    }
    return {
        name: torch.optim.Adam(module.parameters(), lr=lr, betas=optim.betas, fused=True)
        for name, (module, lr) in modules.items()
    }


def _to_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, dict):
        return {key: _to_tensors(item) for key, item in value.items()}
    return value


def _to_arrays(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {key: _to_arrays(item) for key, item in value.items()}
    return value
