"""The configuration of a training run; each component's dataclass lives beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowpwm.checks import ConfigError, at_least, one_of, positive, within
from flowpwm.critic import CriticConfig
from flowpwm.envs.tasks import TaskSet, task_set
from flowpwm.losses import REWARD_SPACES
from flowpwm.modes import MODES
from flowpwm.policies import GaussianPolicyConfig, PolicyConfig
from flowpwm.precision import PRECISIONS
from flowpwm.world_models import WorldModelConfig
from flowpwm.world_models.mlp import MLPWorldModelConfig

# Keys that say how a machine does the work, not what is trained: results agree up to rounding.
MACHINE = ("device", "num_threads", "microbatches", "compile", "recompute")
DEVICES = ("cpu", "cuda")
SCHEDULES = ("linear", "cosine", "constant")
MISSING = "???"


@dataclass(frozen=True)
class OptimConfig:
    """Adam and its schedule, one learning rate a network (PWM, appendix B)."""

    actor_lr: float = 5e-4
    critic_lr: float = 5e-4
    wm_lr: float = 3e-4
    final_lr: float = 1e-5
    schedule: str = "linear"
    decay_start: float = 0.0  # share of the epochs before the rates begin to fall
    betas: tuple[float, float] = (0.7, 0.95)
    actor_grad_norm: float = 1.0
    critic_grad_norm: float = 100.0
    wm_grad_norm: float = 20.0

    def __post_init__(self) -> None:
        for name in ("actor_lr", "critic_lr", "wm_lr"):
            positive(f"optim.{name}", getattr(self, name))
            if getattr(self, name) > 1:
                raise ConfigError(f"optim.{name} must be at most 1, got {getattr(self, name)}")
        at_least("optim.final_lr", self.final_lr, 0)
        if self.schedule != "constant":
            lowest = min(self.actor_lr, self.critic_lr, self.wm_lr)
            within("optim.final_lr", self.final_lr, 0.0, lowest)
        within("optim.decay_start", self.decay_start, 0.0, 0.99)
        one_of("optim.schedule", self.schedule, SCHEDULES)
        for name in ("actor_grad_norm", "critic_grad_norm", "wm_grad_norm"):
            positive(f"optim.{name}", getattr(self, name))
        betas = tuple(self.betas)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"optim.betas must be two numbers in [0, 1), got {list(betas)}")
        object.__setattr__(self, "betas", betas)


@dataclass(frozen=True)
class EvaluationConfig:
    """When and how long the policy is evaluated, on episodes that training never sees."""

    every: int = 50
    episodes: int = 10
    seed: int = 1_000_003

    def __post_init__(self) -> None:
        at_least("evaluation.every", self.every, 1)
        within("evaluation.episodes", self.episodes, 1, 100_000)
        at_least("evaluation.seed", self.seed, 0)


@dataclass(frozen=True)
class RunConfig:
    """One training of one policy, on one task or several joined by '+'.

    Online, an epoch is `horizon * num_envs` environment steps and the updates after them; offline
    it is the updates alone.
    """

    task: str = MISSING
    mode: str = "online"
    dataset: str = ""  # folder, in every mode but online
    init_world_model: str = ""  # folder whose world model the run starts from
    reward_timing: str = "post_step"
    seed: int = 0
    epochs: int = 15_000
    patience: int = 0  # evaluations without a better score before the run ends; 0: never
    num_envs: int = 128
    horizon: int = 16
    buffer_capacity: int = 1_000_000
    microbatches: int = 1  # parts that batches are worked through in; saves memory, same results
    exploration_correlation: float = 0.0  # of acting noise from a step to the next; 0: white
    wm_batch_size: int = 256
    wm_horizon: int = 0  # steps of the sequences it learns from; 0: `horizon`
    wm_updates: int = 8
    wm_warmup_updates: int = 500
    actor_updates: int = 1
    actor_batch_size: int = 128
    actor_reward_space: str = "raw"
    actor_entropy_weight: float = 0.0  # reward for a nat of an action's entropy
    critic_iterations: int = 8
    critic_minibatches: int = 4
    discount: float = 0.99
    td_lambda: float = 0.95
    report_every: int = 10
    device: str = "cpu"
    num_threads: int = 1
    precision: str = "fp32"  # of matrix products in losses; or tf32 (on a GPU), bf16
    compile: bool = False  # fuse kernels, on a GPU into CUDA graphs; minutes before the first epoch
    recompute: bool = False  # a rollout's insides in the backward pass: less memory, more work
    world_model: WorldModelConfig = field(default_factory=MLPWorldModelConfig)
    policy: PolicyConfig = field(default_factory=GaussianPolicyConfig)
    critic: CriticConfig = field(default_factory=CriticConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        self._check_tasks()
        self._check_mode()
        within("seed", self.seed, 0, 2**32 - 1)
        if self.seed == self.evaluation.seed:
            raise ConfigError(
                f"seed must differ from evaluation.seed ({self.seed}): training would see the "
                "start states of the evaluation"
            )
        for name in (
            "epochs",
            "num_envs",
            "horizon",
            "wm_batch_size",
            "wm_updates",
            "actor_updates",
            "actor_batch_size",
            "critic_iterations",
            "critic_minibatches",
            "report_every",
            "microbatches",
        ):
            at_least(name, getattr(self, name), 1)
        within("num_threads", self.num_threads, 1, 1024)
        for name in ("wm_horizon", "wm_warmup_updates", "patience"):
            at_least(name, getattr(self, name), 0)
        batches = self.wm_batch_size, self.actor_batch_size
        if problem := wrong_microbatches(self.microbatches, *batches):
            raise ConfigError(problem)
        longest = max(self.horizon, self.wm_steps)
        at_least("buffer_capacity", self.buffer_capacity, self.num_envs * longest)
        if MODES[self.mode].online and self.wm_batch_size > self.buffer_capacity:
            raise ConfigError(
                f"wm_batch_size must be at most buffer_capacity ({self.buffer_capacity}), "
                f"got {self.wm_batch_size}"
            )
        at_least("actor_entropy_weight", self.actor_entropy_weight, 0)
        one_of("actor_reward_space", self.actor_reward_space, REWARD_SPACES)
        within("exploration_correlation", self.exploration_correlation, 0.0, 0.999)
        within("discount", self.discount, 0.0, 1.0)
        within("td_lambda", self.td_lambda, 0.0, 1.0)
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        if self.precision == "tf32" and self.device == "cpu":
            raise ConfigError("precision=tf32 needs device=cuda: no CPU has it")
        if self.evaluation.every % self.report_every:
            raise ConfigError(
                f"evaluation.every must be a multiple of report_every ({self.report_every}), "
                f"got {self.evaluation.every}"
            )
        if self.horizon * self.actor_batch_size < self.critic_minibatches:
            raise ConfigError(
                f"critic_minibatches must be at most horizon * actor_batch_size "
                f"({self.horizon * self.actor_batch_size}), got {self.critic_minibatches}"
            )

    @property
    def wm_steps(self) -> int:
        """Environment steps of a sequence that the world model learns from."""
        return self.wm_horizon or self.horizon

    @property
    def covered_tasks(self) -> TaskSet:
        """The tasks that the world model is sized for: the run's own, or more."""
        return task_set(self.world_model.task_set or self.task)

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks of the run, one by one."""
        return task_set(self.task).names

    def _check_tasks(self) -> None:
        covered = self.world_model.task_set or self.task
        for name in (self.task, covered):
            try:
                task_set(name)
            except ValueError as error:  # unknown, or named twice
                raise ConfigError(str(error)) from error
        tasks = task_set(self.task)
        outside = [name for name in tasks.names if name not in task_set(covered).names]
        if outside:
            raise ConfigError(
                f"world_model.task_set {covered!r} does not cover task {outside[0]!r}"
            )
        if len(task_set(covered)) > 1 and not self.world_model.task_dim:
            raise ConfigError(
                f"world_model.task_dim must be at least 1 for tasks {covered!r}, got 0"
            )
        if len(task_set(covered)) == 1 and self.world_model.task_dim:
            raise ConfigError(
                f"world_model.task_dim must be 0 for the one task {covered!r}, "
                f"got {self.world_model.task_dim}"
            )
        for spec in tasks.specs:
            if self.reward_timing not in spec.reward_timings:
                raise ConfigError(
                    f"reward_timing {self.reward_timing!r} does not fit task {spec.name!r}; "
                    f"it has {', '.join(spec.reward_timings)}"
                )
        if self.mode == "online" and self.num_envs % len(tasks):
            raise ConfigError(
                f"num_envs must be a multiple of the {len(tasks)} tasks, got {self.num_envs}"
            )

    def _check_mode(self) -> None:
        one_of("mode", self.mode, MODES)
        mode = MODES[self.mode]
        if mode.online and self.dataset:
            raise ConfigError(
                f"dataset is set ({self.dataset!r}) but mode is online, which acts in the "
                f"environment; offline modes: {', '.join(m for m in MODES if not MODES[m].online)}"
            )
        if not mode.online and not self.dataset:
            raise ConfigError(
                f"dataset must be set in mode {self.mode}: the folder of a dataset "
                "(of convert-dataset or make-dataset)"
            )
        if self.patience and not mode.trains_policy:
            raise ConfigError(
                f"patience must be 0 in mode {self.mode}, got {self.patience}: it waits for a "
                "better score, and a run without a policy has none"
            )
        if mode.init == "required" and not self.init_world_model:
            raise ConfigError(
                f"init_world_model must be set in mode {self.mode}: the folder of a world model"
            )
        if mode.init == "refused" and self.init_world_model:
            raise ConfigError(
                f"mode {self.mode} starts from scratch, but init_world_model is "
                f"{self.init_world_model!r}; use policy_finetune to start from it"
            )


def wrong_microbatches(parts: int, wm_batch_size: int, actor_batch_size: int) -> str:
    """Why batches cannot be worked through in so many parts, '' if they can.

    Parts need not be equal, each counts by its samples, but none may be empty.
    """
    if parts <= min(wm_batch_size, actor_batch_size):
        return ""
    return (
        f"microbatches must be at most wm_batch_size ({wm_batch_size}) and "
        f"actor_batch_size ({actor_batch_size}), got {parts}"
    )


def flat_items(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The values of nested mappings under dotted keys."""
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += flat_items(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain values (lists for tuples), ready for JSON or YAML."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flatten(config: RunConfig) -> dict[str, Any]:
    """The same values under dotted keys, as they are overridden and stored in columns."""
    return dict(flat_items(to_dict(config)))


def config_id(config: RunConfig) -> str:
    """A short hash of what is trained: not the seed, how it is evaluated, or on what machine."""
    values = to_dict(config)
    for key in ("seed", "evaluation", *MACHINE):
        del values[key]
    if values["precision"] == "fp32":
        del values["precision"]  # younger than the first ids, which are to stay what they are
    text = json.dumps(values, sort_keys=True)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:8]


def env_steps_per_epoch(config: RunConfig) -> int:
    """Environment steps (after action repeat) of one epoch; 0 offline."""
    return config.horizon * config.num_envs if MODES[config.mode].online else 0
