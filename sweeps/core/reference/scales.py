"""What counts as 0 and as 1 on a task, so that scores of several tasks can be put together."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from sweeps.core.reference.table import rows

#: Counts up with every change of a row of scales.csv.
VERSION = 1


class Scale(NamedTuple):
    """Returns that count as 0 and as 1."""

    zero: float
    one: float


@cache
def scales() -> dict[str, Scale]:
    """The scale of every task that has one."""
    return {row["task"]: Scale(float(row["zero"]), float(row["one"])) for row in rows("scales.csv")}
