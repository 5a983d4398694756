"""Where the next configuration comes from: the interface, and the grid without replacement."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sweeps.core.definition.axes import Cell
from sweeps.core.definition.tune import Tune

#: Grids up to this size are enumerated; nothing is gained by modelling so few cells.
ENUMERABLE = 48


class Source(Protocol):
    """Proposes cells, one at a time, and is told what became of them."""

    def next(self) -> Cell | None:
        """A cell that was never proposed before, or None if there is no other."""
        ...

    def planned(self, trial_id: str) -> None:
        """The cell proposed last runs under this name."""
        ...

    def progressed(self, trial_id: str, progress: int, score: float) -> None:
        """The trial was evaluated."""
        ...

    def ended(self, trial_id: str, status: str, score: float | None) -> None:
        """The trial has one of `schema.FINAL_STATUSES`."""
        ...


def is_enumerable(sweep: Tune) -> bool:
    """Whether the screen walks the grid rather than asking a model of it."""
    cells = sweep.cell_count()
    return cells <= max(ENUMERABLE, sweep.screen.trials)


class Grid:
    """The cells in an order that only the seed decides, without those already tried.

    Of cells that earlier sweeps know, best first in `known`, the better half comes before all
    others, and the worse half after them.
    """

    def __init__(
        self,
        sweep: Tune,
        tried: Iterable[Mapping[str, Any]] = (),
        known: Sequence[Cell] = (),
    ) -> None:
        seen = {cell_key(cell) for cell in tried}
        order = balanced_order(list(sweep.cells()), sweep.screen.trials, sweep.search_seed)
        ranks = {cell_key(cell): rank for rank, cell in enumerate(known)}
        half = -(-len(known) // 2)

        def turn(cell: Cell) -> tuple[int, int]:
            rank = ranks.get(cell_key(cell))
            return (1, 0) if rank is None else (0 if rank < half else 2, rank)

        order.sort(key=turn)
        self._left = [cell for cell in order if cell_key(cell) not in seen]

    def next(self) -> Cell | None:
        """The next cell of the order."""
        return self._left.pop(0) if self._left else None

    def planned(self, trial_id: str) -> None:
        """Nothing to learn: the order is fixed."""

    def progressed(self, trial_id: str, progress: int, score: float) -> None:
        """Nothing to learn."""

    def ended(self, trial_id: str, status: str, score: float | None) -> None:
        """Nothing to learn."""


def balanced_order(cells: list[Cell], first: int, seed: int) -> list[Cell]:
    """Shuffled, and the `first` cells chosen so that every value of every axis comes up as evenly
    as it can: a part of a grid then still tells something about each axis.
    """
    left = list(cells)
    random.Random(seed).shuffle(left)
    if first >= len(left):
        return left
    chosen: list[Cell] = []
    counts: dict[tuple[str, str], int] = {}
    while len(chosen) < first:
        used = [sum(counts.get(value, 0) for value in _values(cell)) for cell in left]
        cell = left.pop(used.index(min(used)))
        chosen.append(cell)
        for value in _values(cell):
            counts[value] = counts.get(value, 0) + 1
    return chosen + left


def cell_key(cell: Mapping[str, Any]) -> str:
    """Equal for equal cells, whatever the order of their axes."""
    return json.dumps(dict(cell), sort_keys=True)


def _values(cell: Cell) -> Collection[tuple[str, str]]:
    return [(key, repr(value)) for key, value in cell.items()]
