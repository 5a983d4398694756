"""The sweep that tunes: one candidate arm over a space, in three stages on disjoint seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flowpwm.integrators import INTEGRATORS, nfe
from sweeps.core.definition.axes import Cell, Range
from sweeps.core.definition.sweep import FIRST_TEST_SEED, Confirm, Sweep, with_seeds

__all__ = ["Confirm", "Screen", "Select", "Tune"]

#: Seeds that a stage may use: what is tuned on is never confirmed on.
SEED_SETS = {
    "screen": range(100),
    "select": range(100, FIRST_TEST_SEED),
    "confirm": range(FIRST_TEST_SEED, 2**32),
}
NFE_AXES = ("world_model.integrator", "world_model.substeps")


@dataclass(frozen=True)
class Screen:
    """Many configurations on one seed each, under early stopping.

    `rungs` are the fractions of a trial's budget at which it is compared with the others of its
    bracket; 1 in `reduction` of them goes on. Less than `margin` standard errors of a score below
    the cut a trial goes on too; `score_se` is that standard error, 0: from the last evaluations.
    """

    trials: int = 8
    seed: int = 0
    rungs: tuple[float, ...] = (0.25, 0.5)
    reduction: float = 2.0
    margin: float = 0.0
    score_se: float = 0.0
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


@dataclass(frozen=True, kw_only=True)
class Tune(Sweep):
    """A comparison of one tuned candidate arm with a baseline arm on one task.

    Axes of `space` that start with one of `candidate_only` have no meaning for the baseline; the
    others are shared: the baseline takes the winner's values.
    """

    kind: ClassVar[str] = "tune"
    STAGES: ClassVar[tuple[str, ...]] = ("screen", "select", "confirm")

    candidate_only: tuple[str, ...] = ("world_model.",)
    screen: Screen = field(default_factory=Screen)
    select: Select = field(default_factory=Select)
    search_seed: int = 0
    max_nfe: int = 0  # cells with more velocity evaluations a step are left out; 0: none are

    @property
    def task(self) -> str:
        """The one task."""
        return self.tasks[0]

    @property
    def candidate(self) -> str:
        """The arm that is tuned."""
        return self.candidates[0]

    def shared(self, cell: Mapping[str, Any]) -> Cell:
        """The part of a cell that the baseline takes over."""
        return {k: v for k, v in cell.items() if not k.startswith(self.candidate_only)}

    def overrides(self, arm: str, stage: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial sets beyond its presets, the seed aside."""
        return {"task": self.task} | super().overrides(arm, stage, cell)

    def confirmed(self, winner: Cell) -> Iterator[tuple[str, Cell]]:
        """The winner, and the baseline with what it shares of the winner's values."""
        yield self.candidate, winner
        yield self.baseline, self.shared(winner)

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
        return len(self.affordable_pairs()) * math.prod(free)

    def affordable_pairs(self) -> list[Cell]:
        """What `max_nfe` leaves of the two axes that it looks at, as far as they are axes."""
        axes = {
            key: axis
            for key, axis in self.space.items()
            if key in NFE_AXES and not isinstance(axis, Range)
        }
        pairs = (dict(zip(axes, pair, strict=True)) for pair in itertools.product(*axes.values()))
        return [pair for pair in pairs if self.affordable(pair)]

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
        plain = super().to_dict()
        plain["candidate_only"] = list(self.candidate_only)
        plain["screen"]["rungs"] = list(self.screen.rungs)
        plain["select"]["seeds"] = list(self.select.seeds)
        return plain

    @classmethod
    def _parts(cls, plain: Mapping[str, Any]) -> dict[str, Any]:
        values = super()._parts(plain)
        values["candidate_only"] = tuple(values["candidate_only"])
        values["screen"] = Screen(**dict(values["screen"], rungs=tuple(values["screen"]["rungs"])))
        values["select"] = with_seeds(Select, values["select"])
        return values
