"""What every sweep is: arms that are compared with a baseline, and seeds for the comparison.

The two kinds are `tune.Tune` (one arm is tuned first) and `compare.Compare` (all arms are fixed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

from flowpwm.checks import one_of
from flowpwm.compose import compose, presets
from flowpwm.config import flatten
from flowpwm.envs import ENVS
from sweeps.core.definition.axes import Axis, Cell, axis_from_plain, axis_to_plain
from sweeps.core.definition.values import parse_value

#: Seeds of comparisons begin here where only their number is given.
FIRST_TEST_SEED = 1000


@dataclass(frozen=True)
class Confirm:
    """The runs that are compared: every arm on the same seeds, full budget, no early stopping."""

    seeds: tuple[int, ...] = (1000, 1001, 1002)
    episodes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Arms, one of them the baseline, and what all of them share.

    An arm is what makes it differ, in the words of `python -m flowpwm train`: presets and
    `key=value`, composed after `presets`. `fixed` holds overrides of every arm, which win over
    an arm's own. `space` holds the axes by dotted key.
    """

    kind: ClassVar[str]
    STAGES: ClassVar[tuple[str, ...]]

    name: str
    tasks: tuple[str, ...]  # each has trials of its own
    presets: str
    arms: Mapping[str, str]
    baseline: str
    space: Mapping[str, Axis] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    confirm: Confirm = field(default_factory=Confirm)
    cpus_per_trial: float = 0.0  # 0: from the configuration
    gpus_per_trial: float = 0.0  # 0: from the configuration
    memory_per_trial: float = 0.0  # GiB; 0: from the configuration and what runs like it held
    accelerator: str = ""  # type of GPU, as Ray calls it; '': any
    seeds_per_program: int = 0  # beyond the screen; 0: as many as pay
    wandb: str = "off"
    tensorboard: bool = False
    goal: str = ""  # the question, in a sentence

    @property
    def candidates(self) -> tuple[str, ...]:
        """The arms that are compared with the baseline."""
        return tuple(arm for arm in self.arms if arm != self.baseline)

    @property
    def trackers(self) -> dict[str, str]:
        """The mode of every tracker that is asked for, by its name."""
        asked = {"wandb": self.wandb, "tensorboard": "on" if self.tensorboard else "off"}
        return {name: mode for name, mode in asked.items() if mode != "off"}

    def preset_of(self, arm: str) -> str:
        """The presets of an arm, left to right."""
        own = [word for word in self.arms[arm].split() if "=" not in word]
        return " ".join([*self.presets.split(), *own])

    def arm_overrides(self, arm: str) -> dict[str, Any]:
        """The `key=value` words of an arm."""
        words = (word.partition("=") for word in self.arms[arm].split() if "=" in word)
        return {key: parse_value(text) for key, _, text in words}

    def keys(self, arm: str) -> Mapping[str, Any]:
        """Every dotted key that a run of this arm has, with its default.

        Raises ConfigError for an unknown preset or an unknown kind of a component.
        """
        kinds = {"world_model": "mlp", "policy": "gaussian"}
        for name in self.preset_of(arm).split():
            one_of("preset", name, presets())
            for part in kinds:
                kinds[part] = presets()[name].get(part, {}).get("kind", kinds[part])
        chosen = self.arm_overrides(arm) | dict(self.fixed)
        return _keys(*(str(chosen.get(f"{part}.kind", kind)) for part, kind in kinds.items()))

    def overrides(self, arm: str, stage: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial sets beyond its presets, the seed aside."""
        episodes = getattr(self, stage).episodes
        protocol = {} if episodes is None else {"evaluation.episodes": episodes}
        return protocol | self.arm_overrides(arm) | dict(self.fixed) | dict(cell)

    def seeds(self, stage: str) -> tuple[int, ...]:
        """The seeds of a stage."""
        return tuple(getattr(self, stage).seeds)

    def confirmed(self, winner: Cell) -> Iterator[tuple[str, Cell]]:
        """(arm, cell) of every run that is compared, for one seed; those of one cell together.

        `winner` is what tuning chose; {} where nothing is tuned.
        """
        raise NotImplementedError

    def planned_trials(self) -> dict[str, int]:
        """Trials of every stage, at most."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `sweep.yaml` and the first event."""
        plain = dataclasses.asdict(self)
        plain["space"] = {key: axis_to_plain(axis) for key, axis in self.space.items()}
        plain["tasks"] = list(self.tasks)
        plain["confirm"]["seeds"] = list(self.confirm.seeds)
        return {"kind": self.kind} | plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises TypeError or KeyError where the keys do not fit."""
        return cls(**cls._parts(plain))

    @classmethod
    def _parts(cls, plain: Mapping[str, Any]) -> dict[str, Any]:
        values = {key: value for key, value in plain.items() if key != "kind"}
        values["tasks"] = tuple(values["tasks"])
        values["space"] = {key: axis_from_plain(axis) for key, axis in values["space"].items()}
        values["confirm"] = with_seeds(Confirm, values["confirm"])
        return values


def with_seeds(stage: type, plain: Mapping[str, Any]) -> Any:
    """A stage from its plain values."""
    return stage(**(dict(plain) | {"seeds": tuple(plain["seeds"])}))


@cache
def _keys(world_model: str, policy: str) -> Mapping[str, Any]:
    kinds = {"world_model.kind": world_model, "policy.kind": policy}
    return flatten(compose("", {"task": next(iter(ENVS))} | kinds))
