"""Everything that a training run is at one moment: enough to go on bit for bit."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flowpwm import memory, precision
from flowpwm.agent import Agent
from flowpwm.averages import Averages
from flowpwm.buffer import Buffer
from flowpwm.config import RunConfig
from flowpwm.cost import fitting
from flowpwm.datasets import open_dataset
from flowpwm.envs.together import TaskEnvs
from flowpwm.evaluate import Evaluator
from flowpwm.experience import Experience
from flowpwm.modes import MODES
from flowpwm.networks import trainable
from flowpwm.preflight import preflight, require_device
from flowpwm.pretrained import load_into
from flowpwm.report import variance_of_mean
from flowpwm.returns import RunningScale

_PLAIN = (
    "epoch",
    "env_steps",
    "updates",
    "recent_scores",
    "best_score",
    "best_return",
    "evaluations_since_best",
    "seconds",
)
PHASES = ("environment", "world_model", "actor", "critic", "evaluation")


@dataclass
class Acting:
    """What an online run has and an offline one lacks: environments and episodes under way."""

    envs: TaskEnvs
    buffer: Buffer
    obs: np.ndarray  # [B, O], what the agent sees next
    episode_return: np.ndarray  # [B], so far
    episode_length: np.ndarray  # [B], env steps so far
    noise: Tensor  # [B, A], of the last action; 0 before the first

    @staticmethod
    def start(config: RunConfig) -> Acting:
        """Fresh episodes in every environment, and an empty buffer."""
        names, tasks = config.task_names, config.covered_tasks
        envs = TaskEnvs(
            tasks,
            names,
            config.num_envs // len(names),
            config.seed,
            config.num_threads,
            config.reward_timing,
        )
        buffer = Buffer(
            # Never larger than the run can fill.
            min(config.buffer_capacity, config.epochs * config.horizon * config.num_envs),
            tasks.obs_dim,
            tasks.action_dim,
            torch.as_tensor(envs.task, device=config.device),
        )
        return Acting(
            envs,
            buffer,
            envs.reset(),
            np.zeros(config.num_envs),
            np.zeros(config.num_envs, dtype=np.int64),
            torch.zeros(config.num_envs, tasks.action_dim, device=config.device),
        )

    def state_dict(self) -> dict[str, Any]:
        """The buffer aside, which is saved as the run's experience."""
        return {
            "envs": _to_tensors(self.envs.state_dict()),
            "obs": torch.from_numpy(self.obs),
            "episode_return": torch.from_numpy(self.episode_return),
            "episode_length": torch.from_numpy(self.episode_length),
            "noise": self.noise,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the buffer is loaded already."""
        self.noise = state["noise"].to(self.noise.device)
        if not self.envs.load_state_dict(_to_arrays(state["envs"])):
            self.obs = self.envs.reset()  # a user's environment that cannot be saved starts anew
            self.buffer.cut()
            return
        self.obs = state["obs"].numpy()
        self.episode_return = state["episode_return"].numpy()
        self.episode_length = state["episode_length"].numpy()


@dataclass
class TrainState:
    """Holds, does not act: `train` changes it, `checkpoint` saves it."""

    config: RunConfig
    agent: Agent
    optimisers: dict[str, torch.optim.Adam]
    acting: Acting | None  # None offline
    experience: Experience
    evaluator: Evaluator | None  # None where no policy is trained
    generator: torch.Generator
    scale: RunningScale
    averages: Averages = field(default_factory=Averages)
    # losses and gradient norms that nobody has looked at yet: name, epoch, value
    unchecked: list[tuple[str, int, Tensor]] = field(default_factory=list)
    epoch: int = 0
    env_steps: int = 0
    updates: int = 0
    recent_scores: list[float] = field(default_factory=list)  # newest SCORE_WINDOW evaluations
    best_score: float | None = None
    best_return: float | None = None  # of a single evaluation
    evaluations_since_best: int = 0
    # wall and device time of each phase, wall time of all, and CPU time of the whole process while
    # it trained
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            (*PHASES, *(f"{phase}_device" for phase in PHASES), "wall", "cpu"), 0.0
        )
    )

    @staticmethod
    def start(config: RunConfig, *, weights_follow: bool = False) -> TrainState:
        """A run before its first epoch; all randomness comes from `config.seed`.

        Where `weights_follow` from a checkpoint, `init_world_model` is not read again.
        """
        require_device(config)
        if not weights_follow:
            preflight(config)
        mode = MODES[config.mode]
        precision.set_up(config.precision)
        if config.device == "cuda":
            config = fitting(config, memory.device_limit_bytes())
        agent = Agent.seeded(config)
        if config.init_world_model and not weights_follow:
            folder, frozen = Path(config.init_world_model), not mode.trains_world_model
            load_into(agent.world_model, folder, agent.tasks, frozen=frozen)
        acting = Acting.start(config) if mode.online else None
        return TrainState(
            config=config,
            agent=agent,
            optimisers=_optimisers(agent, config),
            acting=acting,
            experience=_dataset(config) if acting is None else acting.buffer,
            evaluator=Evaluator(config) if mode.trains_policy else None,
            generator=torch.Generator(config.device).manual_seed(config.seed),
            scale=RunningScale(device=config.device),
        )

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do: all epochs done, or patience at its end."""
        patience = self.config.patience
        stale = bool(patience) and self.evaluations_since_best >= patience
        return stale or self.epoch >= self.config.epochs

    @property
    def score(self) -> float | None:
        """Mean of the newest evaluations, None before the first."""
        return float(np.mean(self.recent_scores)) if self.recent_scores else None

    @property
    def score_variance(self) -> float | None:
        """Variance of the score from evaluation to evaluation, None before the second one."""
        return variance_of_mean(self.recent_scores)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python only, so that it loads without executing pickles."""
        return {
            "agent": self.agent.state_dict(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "acting": self.acting.state_dict() if self.acting else {},
            "experience": self.experience.state_dict(),
            "generator": self.generator.get_state(),
            "scale": self.scale.state_dict(),
            "averages": self.averages.state_dict(),
            **{name: copy.copy(getattr(self, name)) for name in _PLAIN},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.agent.load_state_dict(state["agent"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.experience.load_state_dict(state["experience"])
        if self.acting:
            self.acting.load_state_dict(state["acting"])
        self.generator.set_state(state["generator"])
        self.scale.load_state_dict(state["scale"])
        self.averages.load_state_dict(state["averages"])
        clocks = self.seconds  # a checkpoint may be older than one of the clocks
        for name in _PLAIN:
            setattr(self, name, state[name])
        self.seconds = clocks | self.seconds

    def close(self) -> None:
        """Free the simulators."""
        if self.acting:
            self.acting.envs.close()
        if self.evaluator:
            self.evaluator.close()


def _dataset(config: RunConfig) -> Experience:
    return open_dataset(
        Path(config.dataset), config.covered_tasks, config.task_names, torch.device(config.device)
    )


def _optimisers(agent: Agent, config: RunConfig) -> dict[str, torch.optim.Adam]:
    """One for every network that this mode trains."""
    optim, mode = config.optim, MODES[config.mode]
    modules: dict[str, tuple[nn.Module, float]] = {}
    if mode.trains_world_model:
        modules["world_model"] = (agent.world_model, optim.wm_lr)
    if mode.trains_policy:
        modules["actor"] = (agent.policy, optim.actor_lr)
        modules["critic"] = (agent.critic, optim.critic_lr)
    return {
        name: torch.optim.Adam(trainable(module), lr=lr, betas=optim.betas, fused=True)
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
