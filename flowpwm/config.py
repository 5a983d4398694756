"""The configuration of a training run, and how presets and overrides compose into one.

Each component's dataclass lives beside it; this is the only module that uses OmegaConf.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowpwm.checks import ConfigError, at_least, did_you_mean, one_of, positive, within
from flowpwm.critic import CriticConfig
from flowpwm.envs import ENVS
from flowpwm.envs.tasks import TASK_SETS, TaskSet, task_set
from flowpwm.losses import REWARD_SPACES
from flowpwm.modes import MODES
from flowpwm.policies import POLICIES, GaussianPolicyConfig, PolicyConfig
from flowpwm.world_models import WORLD_MODELS, WorldModelConfig
from flowpwm.world_models.mlp import MLPWorldModelConfig

# Keys that say how a machine does the work, not what is trained: results agree up to rounding.
MACHINE = ("device", "num_threads", "microbatches")
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
        at_least("evaluation.episodes", self.episodes, 1)
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
            "num_threads",
            "microbatches",
        ):
            at_least(name, getattr(self, name), 1)
        for name in ("wm_warmup_updates", "patience"):
            at_least(name, getattr(self, name), 0)
        if self.microbatches > min(self.wm_batch_size, self.actor_batch_size):
            raise ConfigError(
                f"microbatches must be at most wm_batch_size ({self.wm_batch_size}) and "
                f"actor_batch_size ({self.actor_batch_size}), got {self.microbatches}"
            )
        at_least("buffer_capacity", self.buffer_capacity, self.num_envs * self.horizon)
        at_least("actor_entropy_weight", self.actor_entropy_weight, 0)
        one_of("actor_reward_space", self.actor_reward_space, REWARD_SPACES)
        within("exploration_correlation", self.exploration_correlation, 0.0, 0.999)
        within("discount", self.discount, 0.0, 1.0)
        within("td_lambda", self.td_lambda, 0.0, 1.0)
        one_of("device", self.device, DEVICES)
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
            raise ConfigError(f"dataset must be set in mode {self.mode}: the folder of a dataset")
        if mode.init == "required" and not self.init_world_model:
            raise ConfigError(
                f"init_world_model must be set in mode {self.mode}: the folder of a world model"
            )
        if mode.init == "refused" and self.init_world_model:
            raise ConfigError(
                f"mode {self.mode} starts from scratch, but init_world_model is "
                f"{self.init_world_model!r}; use policy_finetune to start from it"
            )


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The named blocks of `presets.yaml`, and one for every task."""
    text = resources.files("flowpwm").joinpath("presets.yaml").read_text(encoding="utf-8")
    blocks = cast(dict[str, dict[str, Any]], OmegaConf.to_container(OmegaConf.create(text)))
    return blocks | {task: {"task": task} for task in (*ENVS, *TASK_SETS)}


def compose(preset: str = "", overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Merge presets left to right, then dotted overrides, into a checked configuration.

    >>> compose("cheetah-run 48M flow", {"world_model.substeps": 8})

    Raises ConfigError with one clear line for an unknown preset or key, a wrong type, a value out
    of range, a missing task, or an option of a kind of model that is not in use.
    """
    layers = []
    for name in preset.split():
        layers.append(OmegaConf.create(_block(name)))
    changes = OmegaConf.create({})
    for key, value in (overrides or {}).items():
        if value == MISSING:  # a merge would pass over it and keep the value before
            raise ConfigError(f"{key} must be set, got {value!r}")
        if isinstance(value, tuple):
            value = list(value)
        try:
            OmegaConf.update(changes, key, value, force_add=True)
        except (OmegaConfBaseException, TypeError, ValueError) as error:
            raise ConfigError(f"cannot set {key}={value!r}: {_first_line(error)}") from error
    return _build(OmegaConf.merge(*layers, changes))


def _block(name: str) -> dict[str, Any]:
    # Joined tasks and a user's own environment are too many to list; `RunConfig` checks them.
    if "+" in name or ":" in name:
        return {"task": name}
    one_of("preset", name, presets())
    return presets()[name]


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_dict`; raises ConfigError as `compose` does."""
    return _build(OmegaConf.create(dict(values)))


def _build(raw: Any) -> RunConfig:
    values = cast(dict[str, Any], OmegaConf.to_container(raw, resolve=False))
    for key, value in _flatten(values):
        # An interpolation could read the environment, and with it a secret, into saved files.
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{key} must be a plain value, got the interpolation {value!r}")
        if value is None or value == MISSING:
            raise ConfigError(f"{key} must be set, got {value!r}")
    if "task" not in values:
        raise ConfigError(f"task must be set; known: {', '.join(ENVS)}")
    defaults = RunConfig(
        task=next(iter(ENVS)),
        world_model=_default(values, "world_model", WORLD_MODELS, "mlp"),
        policy=_default(values, "policy", POLICIES, "gaussian"),
    )
    return _replace(defaults, values, "")


def _default(values: dict[str, Any], part: str, table: Mapping[str, Any], kind: str) -> Any:
    """The default instance of the configuration class that `values` asks for by its `kind`."""
    options = values.get(part, {})
    if not isinstance(options, dict):
        raise ConfigError(f"{part} is a group of options, got {options!r}")
    kind = options.get("kind", kind)
    one_of(f"{part}.kind", kind, table)
    return table[kind].config()


def _replace(default: Any, values: dict[str, Any], prefix: str) -> Any:
    """A copy of the dataclass `default` with `values`, each of exactly its default's type."""
    known = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise ConfigError(_unknown(name, key, default))
        if not dataclasses.is_dataclass(known[key]):
            changes[key] = _typed(name, value, known[key])
        elif isinstance(value, dict):
            changes[key] = _replace(known[key], value, f"{name}.")
        else:
            raise ConfigError(f"{name} is a group of options, got {value!r}")
    return dataclasses.replace(default, **changes)


TYPE_NAMES = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def _typed(name: str, value: Any, default: Any) -> Any:
    # No silent conversions: "16" or true for an integer is a slip that should be seen.
    if isinstance(default, tuple):
        if not isinstance(value, list):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return tuple(_typed(f"{name}[{i}]", item, default[0]) for i, item in enumerate(value))
    expected = type(default)
    if type(value) is int and expected is float:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"{name} must be {TYPE_NAMES[expected]}, got {value!r}")
    return value


def _unknown(name: str, key: str, default: Any) -> str:
    part = name.rpartition(".")[0]
    for table in (WORLD_MODELS, POLICIES):
        if not any(isinstance(default, entry.config) for entry in table.values()):
            continue
        for other, entry in table.items():
            if key in {f.name for f in dataclasses.fields(entry.config)}:
                return f"{name} is an option of {part}.kind={other}, but {part}.kind={default.kind}"
    known = [f.name for f in dataclasses.fields(default)]
    return f"unknown key {name}.{did_you_mean(key, known)} Known here: {', '.join(known)}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat += _flatten(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Nested plain values (lists for tuples), ready for JSON or YAML."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def flatten(config: RunConfig) -> dict[str, Any]:
    """The same values under dotted keys, as they are overridden and stored in columns."""
    return dict(_flatten(to_dict(config)))


def config_id(config: RunConfig) -> str:
    """A short hash of what is trained: not the seed, how it is evaluated, or on what machine."""
    values = to_dict(config)
    for key in ("seed", "evaluation", *MACHINE):
        del values[key]
    text = json.dumps(values, sort_keys=True)
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:8]


def env_steps_per_epoch(config: RunConfig) -> int:
    """Environment steps (after action repeat) of one epoch; 0 offline."""
    return config.horizon * config.num_envs if MODES[config.mode].online else 0
