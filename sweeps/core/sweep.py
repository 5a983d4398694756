"""What a sweep is: arms, a space of hyperparameters, three stages on disjoint seeds."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowpwm.integrators import INTEGRATORS, nfe

#: Seeds that a stage may use: what is tuned on is never confirmed on.
SEED_SETS = {"screen": range(100), "select": range(100, 1000), "confirm": range(1000, 2**32)}
STAGES = ("screen", "select", "confirm")
NFE_AXES = ("world_model.integrator", "world_model.substeps")

Cell = dict[str, Any]  # one value for every axis, under dotted keys


@dataclass(frozen=True)
class Range:
    """A numeric axis from `low` to `high`, both included; `log` samples it geometrically."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def corners(self) -> tuple[float, ...]:
        """The values that a check has to try."""
        return (self.low, self.high)

    def __str__(self) -> str:
        kind = "int" if self.integer else "loguniform" if self.log else "uniform"
        return f"{kind}({self.low:g}, {self.high:g})"


Axis = tuple[Any, ...] | Range


@dataclass(frozen=True)
class Screen:
    """Many configurations on one seed each, under early stopping.

    `rungs` are the fractions of a trial's budget at which it is compared with the others of its
    bracket; 1 in `reduction` of them goes on.
    """

    trials: int = 8
    seed: int = 0
    rungs: tuple[float, ...] = (0.25, 0.5)
    reduction: float = 2.0
    episodes: int | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """As the other stages have them."""
        return (self.seed,)


@dataclass(frozen=True)
class Select:
    """The best `top` configurations of the screen on new seeds, full budget, no early stopping."""

    top: int = 2
    seeds: tuple[int, ...] = (100,)
    episodes: int | None = None


@dataclass(frozen=True)
class Confirm:
    """The winner and the baseline on seeds that nothing was chosen on."""

    seeds: tuple[int, ...] = (1000, 1001, 1002)
    episodes: int | None = None


@dataclass(frozen=True)
class Sweep:
    """A comparison of one tuned candidate arm with a baseline arm on one task.

    `arms` gives each arm its presets, which are composed after `presets`. Axes of `space` that
    start with one of `candidate_only` have no meaning for the baseline; the others are shared:
    the baseline takes the winner's values. `fixed` holds overrides of every arm.
    """

    name: str
    task: str
    presets: str
    arms: Mapping[str, str]
    baseline: str
    space: Mapping[str, Axis]
    candidate_only: tuple[str, ...] = ("world_model.",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    screen: Screen = field(default_factory=Screen)
    select: Select = field(default_factory=Select)
    confirm: Confirm = field(default_factory=Confirm)
    search_seed: int = 0
    max_nfe: int = 0  # cells with more velocity evaluations a step are left out; 0: none are
    cpus_per_trial: float = 0.0  # 0: from the configuration
    gpus_per_trial: float = 0.0  # 0: from the configuration
    wandb: str = "off"

    @property
    def candidate(self) -> str:
        """The arm that is tuned."""
        return next(arm for arm in self.arms if arm != self.baseline)

    def shared(self, cell: Mapping[str, Any]) -> Cell:
        """The part of a cell that the baseline takes over."""
        return {k: v for k, v in cell.items() if not k.startswith(self.candidate_only)}

    def preset_of(self, arm: str) -> str:
        """The presets of an arm, left to right."""
        return f"{self.presets} {self.arms[arm]}".strip()

    def overrides(self, stage: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial of `stage` sets beyond its presets, the seed aside."""
        episodes = getattr(self, stage).episodes
        protocol = {} if episodes is None else {"evaluation.episodes": episodes}
        return {"task": self.task} | protocol | dict(self.fixed) | dict(cell)

    def seeds(self, stage: str) -> tuple[int, ...]:
        """The seeds of a stage."""
        return tuple(getattr(self, stage).seeds)

    def affordable(self, cell: Mapping[str, Any]) -> bool:
        """Whether a cell stays within `max_nfe`."""
        integrator, substeps = (cell.get(key) for key in NFE_AXES)
        # Values that are no integrator or no count are left to the check, which names them.
        if not isinstance(integrator, str) or integrator not in INTEGRATORS:
            return True
        if not self.max_nfe or type(substeps) is not int:
            return True
        return nfe(integrator, substeps) <= self.max_nfe

    def cell_count(self) -> float:
        """Number of cells of the grid; infinite with a numeric range."""
        choices = {key: axis for key, axis in self.space.items() if not isinstance(axis, Range)}
        if len(choices) < len(self.space):
            return math.inf
        free = [len(axis) for key, axis in choices.items() if key not in NFE_AXES]
        bound = {key: axis for key, axis in choices.items() if key in NFE_AXES}
        pairs = itertools.product(*bound.values())
        affordable = sum(self.affordable(dict(zip(bound, pair, strict=True))) for pair in pairs)
        return affordable * math.prod(free)

    def cells(self) -> Iterator[Cell]:
        """Every cell of a finite space, the last axis fastest."""
        axes = [axis for axis in self.space.values() if not isinstance(axis, Range)]
        if len(axes) < len(self.space):
            raise ValueError("a space with a numeric range has no list of cells")
        for values in itertools.product(*axes):
            cell = dict(zip(self.space, values, strict=True))
            if self.affordable(cell):
                yield cell

    def planned_trials(self) -> dict[str, int]:
        """Trials a stage, at most."""
        screened = int(min(self.screen.trials, self.cell_count()))
        return {
            "screen": screened,
            "select": min(self.select.top, screened) * len(self.select.seeds),
            "confirm": 2 * len(self.confirm.seeds),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `sweep.yaml` and the first event."""
        plain = dataclasses.asdict(self)
        plain["space"] = {
            key: {"range": dataclasses.asdict(axis)} if isinstance(axis, Range) else list(axis)
            for key, axis in self.space.items()
        }
        plain["candidate_only"] = list(self.candidate_only)
        plain["screen"]["rungs"] = list(self.screen.rungs)
        for stage in ("select", "confirm"):
            plain[stage]["seeds"] = list(plain[stage]["seeds"])
        return plain

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> Sweep:
        """The inverse of `to_dict`. Raises TypeError or KeyError where the keys do not fit."""
        values = dict(plain)
        values["space"] = {
            key: Range(**axis["range"]) if isinstance(axis, Mapping) else tuple(axis)
            for key, axis in values["space"].items()
        }
        values["candidate_only"] = tuple(values["candidate_only"])
        screen: dict[str, Any] = dict(values["screen"])
        screen["rungs"] = tuple(screen["rungs"])
        values["screen"] = Screen(**screen)
        for stage, kind in (("select", Select), ("confirm", Confirm)):
            settings: dict[str, Any] = dict(values[stage])
            settings["seeds"] = tuple(settings["seeds"])
            values[stage] = kind(**settings)
        return Sweep(**values)
