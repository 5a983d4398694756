"""Rows of a trial of one run folder, written into another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweeps.core.store.compact import read_tables
from sweeps.core.store.series import SeriesWriter, next_attempt

_KEYS = ("trial_id", "attempt")
_TYPES = {pa.float32(): "f4", pa.float64(): "f8", pa.int64(): "i8"}


@dataclass(frozen=True)
class Adopted:
    """Where the rows that were written end, and the attempt that they were written as."""

    attempt: int
    epoch: int
    env_steps: int


def adopt(source: Path, folder: Path, trial_id: str) -> Adopted | None:
    """Write the latest rows that `source` has of a trial into `folder`, as one more attempt there.

    None, and nothing is written, where it has no evaluation of it.

    Raises:
        OSError: a folder cannot be read or written.
        DamagedTable: tables are all that `source` kept, and none is whole.
    """
    tables = read_tables(source, kinds=("reports", "evals"), trials=[trial_id])
    if not len(tables.evals):
        return None
    types = {field.name: _TYPES.get(field.type, "f8") for field in tables.reports.schema}
    attempt = next_attempt(folder, trial_id)
    with SeriesWriter(folder, trial_id, attempt, dtypes=types) as writer:
        for row in _rows(tables.reports):
            writer.report(row)
        for row in _rows(tables.evals):
            writer.evaluation(row)
    last = max(_rows(tables.evals), key=lambda row: row["epoch"])
    return Adopted(attempt, last["epoch"], last["env_steps"])


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for row in table.to_pylist():
        yield {key: value for key, value in row.items() if key not in _KEYS and value is not None}
