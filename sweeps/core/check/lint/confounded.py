"""Settings that change together over the arms of a comparison: which one did it is never known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flowpwm.config import MACHINE, flatten
from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding, listed
from sweeps.core.definition.axes import value_text
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.sweep import Sweep

#: They change nothing that is trained, or are crossed with every arm.
_NO_FACTORS = frozenset({*MACHINE, "task", "seed", "report_every"})
_ZERO = 1e-9  # of a projection whose entries are fractions of small whole numbers
MOST_KEYS = 4  # more of one group are counted

Settings = Mapping[str, Any]


def findings(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """A line for every group of settings whose effects the arms cannot tell apart.

    The grid of a tune sweep crosses its axes, and so do the axes of a comparison.
    """
    if not isinstance(sweep, Compare):
        return
    skipped = _NO_FACTORS | sweep.space.keys()
    arms = {
        arm: {k: v for k, v in flatten(checked.of(arm).config).items() if k not in skipped}
        for arm in (sweep.baseline, *sweep.candidates)
    }
    for keys in confounded(list(arms.values())):
        yield Finding(
            "confounded",
            f"{listed(keys, MOST_KEYS)} change together over arms "
            f"{_values(arms, keys[:MOST_KEYS])}: their effects cannot be told apart",
        )


def confounded(designs: Sequence[Settings]) -> list[tuple[str, ...]]:
    """Groups of keys whose effects cannot be told apart, by the rank of the design matrix.

    Each of `designs` is a row; the first is what the others are compared with. A key has a column
    for each of its values but the one of the first row that has it, so no order and no linearity
    of values is assumed, and a key that only some rows have is nested in what decides that. Columns
    that depend on one another are confounded; they fall into groups that do not, which are the
    connected parts of the projection onto the null space.
    """
    columns, owners = _columns(designs)
    if not owners:
        return []
    free = np.eye(len(owners)) - np.linalg.pinv(columns) @ columns
    groups = [
        tuple(dict.fromkeys(owners[i] for i in np.flatnonzero(part)))
        for part in _connected(np.abs(free) > _ZERO)
        if part.any()
    ]
    return list(dict.fromkeys(groups))


def _connected(linked: np.ndarray) -> np.ndarray:
    """Row i of `[N, N]`: what i is linked with over any number of steps."""
    for _ in range(len(linked).bit_length()):
        linked = (linked.astype(int) @ linked) > 0
    return linked


def _columns(designs: Sequence[Settings]) -> tuple[np.ndarray, list[str]]:
    """The design matrix without its first row and constant column, and the key of each column."""
    columns: list[list[bool]] = []
    owners: list[str] = []
    for key in dict.fromkeys(key for design in designs for key in design):
        # As text, since 1 and true are equal and lists cannot be hashed.
        values = [repr(design[key]) if key in design else None for design in designs]
        levels = [value for value in dict.fromkeys(values) if value is not None]
        for level in levels[1:]:
            columns.append([value == level for value in values[1:]])
            owners.append(key)
    return np.array(columns, dtype=float).T, owners


def _values(arms: Mapping[str, Settings], keys: Sequence[str]) -> str:
    """The first arm with each combination of values."""
    first: dict[str, str] = {}
    for arm, settings in arms.items():
        if all(key in settings for key in keys):
            values = ", ".join(value_text(settings[key]) for key in keys)
            first.setdefault(values, arm)
    return ", ".join(f"{arm} ({values})" for values, arm in first.items())
