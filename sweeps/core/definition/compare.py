"""The sweep that compares: fixed arms on tasks and seeds, full budget, nothing chosen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sweeps.core.definition.axes import Cell, Range
from sweeps.core.definition.sweep import Confirm, Sweep

__all__ = ["Compare", "Confirm"]


@dataclass(frozen=True, kw_only=True)
class Compare(Sweep):
    """Every arm on every task and seed; each value of an axis is a comparison of its own.

    An axis or a fixed override applies to the arms whose runs have its key: integrators mean
    nothing to an MLP, which is then trained once for all of them. `shared_state` names what the
    arms share beyond the seed (a frozen world model, the same initial weights); their scores are
    then compared in pairs of equal seeds.
    """

    kind: ClassVar[str] = "compare"
    STAGES: ClassVar[tuple[str, ...]] = ("confirm",)

    shared_state: str = ""

    def overrides(self, arm: str, stage: str, cell: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial sets beyond its presets, the seed aside."""
        foreign = self.fixed.keys() - self.keys(arm).keys()
        chosen = super().overrides(arm, stage, cell)
        return {key: value for key, value in chosen.items() if key not in foreign}

    def confirmed(self, winner: Cell | None = None) -> Iterator[tuple[str, Cell]]:
        """(arm, cell) of every run of one seed, "task" being the first key of a cell."""
        seen: set[tuple[str, str]] = set()
        axes: dict[str, Any] = {"task": self.tasks, **self.space}
        for values in itertools.product(*axes.values()):
            whole = dict(zip(axes, values, strict=True))
            for arm in self.arms:
                cell = {key: value for key, value in whole.items() if key in self.keys(arm)}
                if (arm, repr(cell)) not in seen:
                    seen.add((arm, repr(cell)))
                    yield arm, cell

    def planned_trials(self) -> dict[str, int]:
        """Trials of the one stage."""
        runs = 0
        for arm in self.arms:  # counted, not listed: a slip can make it billions
            own = self.keys(arm)
            axes = [
                len(axis)
                for key, axis in self.space.items()
                if key in own and not isinstance(axis, Range)
            ]
            runs += len(self.tasks) * math.prod(axes)
        return {"confirm": runs * len(self.confirm.seeds)}
