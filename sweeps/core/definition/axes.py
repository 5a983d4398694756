"""Axes of a sweep: lists of values and numeric ranges, under the dotted keys of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


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
Cell = dict[str, Any]  # one value for every axis, under dotted keys


def last_name(key: str) -> str:
    """`substeps` of `world_model.substeps`."""
    return key.rpartition(".")[2]


def cell_text(cell: Mapping[str, Any]) -> str:
    """A cell in a few words, last names only."""
    return " ".join(f"{last_name(key)}={value_text(value)}" for key, value in cell.items())


def axis_text(key: str, axis: Axis) -> str:
    """An axis with its values."""
    values = axis if isinstance(axis, Range) else f"[{','.join(map(value_text, axis))}]"
    return f"{last_name(key)}{values}"


def value_text(value: Any) -> str:
    """A value without spaces; floats as short as they can be."""
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def axis_to_plain(axis: Axis) -> Any:
    """Plain values, for YAML and JSON."""
    return {"range": asdict(axis)} if isinstance(axis, Range) else list(axis)


def axis_from_plain(plain: Any) -> Axis:
    """The inverse of `axis_to_plain`. Raises TypeError or KeyError where it does not fit."""
    return Range(**plain["range"]) if isinstance(plain, Mapping) else tuple(plain)
