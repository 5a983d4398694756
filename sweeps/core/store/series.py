"""Dense rows of a trial, written by the worker itself as Arrow IPC streams.

Files are `series/<trial>/{reports,evals}-<attempt>-<part>.arrows`. A stream cut by a crash is
readable up to its last whole batch; each batch carries the CRC-32 of its rows. A new part begins
when a metric appears that the open one has no column for.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from sweeps.core.store.patience import Patience
from sweeps.core.store.schema import EVALS, REPORTS, metric_type
from sweeps.core.store.streams import StreamWriter, stream_batches, stream_schema

SERIES_KINDS = {"reports": REPORTS, "evals": EVALS}

_NAME = re.compile(r"(?P<kind>reports|evals)-(?P<attempt>\d{3,})-(?P<part>\d{3,})\.arrows")
_TRIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class SeriesWriter:
    """Buffers the rows of one attempt of one trial; safe to share between threads.

    Call `flush` right before a checkpoint is saved: a crash in between then repeats rows, which
    the attempt number sorts out, and loses none.
    """

    def __init__(
        self,
        folder: Path,
        trial_id: str,
        attempt: int,
        *,
        dtypes: Mapping[str, str] | None = None,
        max_rows: int = 500,
        max_age_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        patience: Patience | None = None,
    ) -> None:
        """Claim (trial, attempt) in the run folder `folder`.

        `dtypes` maps metric names to "f4", "f8" or "i8" and goes before `metric_type`; `patience`
        is with storage that is full.

        Raises:
            ValueError: `trial_id` cannot name a folder, or attempt < 1.
            FileExistsError: the attempt has a writer already; ask `next_attempt`.
        """
        where = _trial_folder(folder, trial_id)
        if attempt < 1:
            raise ValueError(f"attempt must be at least 1, got {attempt}")
        types = {"f4": pa.float32(), "f8": pa.float64(), "i8": pa.int64()}
        self._dtypes = {name: types[code] for name, code in (dtypes or {}).items()}
        self._key = {"trial_id": trial_id, "attempt": attempt}
        self._limits = (max_rows, max_age_s)
        self._clock = clock
        self._lock = threading.RLock()
        self._flushed_at = clock()
        patience = patience or Patience()
        self._streams = {
            kind: StreamWriter(where / f"{kind}-{attempt:03d}", schema, patience)
            for kind, schema in SERIES_KINDS.items()
        }
        patience(self._streams["reports"].open)

    def report(self, row: Mapping[str, Any]) -> None:
        """Add one report: `epoch`, `env_steps` and any metrics.

        None is a missing value and NaN a measured one.

        Raises:
            ValueError: no epoch or env_steps, or a value that its column cannot hold.
        """
        self._add("reports", row)

    def evaluation(self, row: Mapping[str, Any]) -> None:
        """Add one evaluation, with columns of `schema.EVALS` only.

        Raises:
            ValueError: a key that is no column, or a value that its column cannot hold.
        """
        if unknown := row.keys() - set(EVALS.names):
            known = ", ".join(EVALS.names)
            raise ValueError(f"evaluation has no column {sorted(unknown)}; known: {known}")
        self._add("evals", row)

    def flush(self) -> None:
        """Put all rows on disk.

        Raises:
            OSError: no space or the like; the rows stay in memory and the files whole, so the
                caller may make room and flush again.
        """
        with self._lock:
            for stream in self._streams.values():
                stream.flush(self._dtypes)
            self._flushed_at = self._clock()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        for stream in self._streams.values():
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _add(self, kind: str, row: Mapping[str, Any]) -> None:
        for name in ("epoch", "env_steps"):
            if name not in row:
                raise ValueError(f"a row of {kind} needs {name!r}, got {sorted(row)}")
        stream = self._streams[kind]
        cells = {name: self._cell(kind, name, value) for name, value in row.items()}
        max_rows, max_age_s = self._limits
        with self._lock:
            stream.rows.append({**cells, **self._key})
            if len(stream.rows) >= max_rows or self._clock() - self._flushed_at >= max_age_s:
                self.flush()

    def _cell(self, kind: str, name: str, value: Any) -> Any:
        """`value` in the type of its column: a wrong one is refused here, not at a flush."""
        if value is None:
            return None
        schema = SERIES_KINDS[kind]
        column = self._dtypes.get(name, metric_type(name))
        if name in schema.names:
            column = schema.field(name).type
        try:
            if pa.types.is_list(column):
                return [float(item) for item in value]
            if pa.types.is_integer(column):
                return int(value)
            return str(value) if pa.types.is_string(column) else float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name!r} of {kind} must be {column}, got {value!r}") from error


def next_attempt(folder: Path, trial_id: str) -> int:
    """The attempt after all that ever began to write; the first is 1."""
    where = _trial_folder(folder, trial_id)
    taken = (_NAME.fullmatch(path.name) for path in where.glob("*.arrows"))
    return max((int(match["attempt"]) for match in taken if match), default=0) + 1


def read_series(
    folder: Path,
    kind: str,
    *,
    columns: Collection[str] | None = None,
    trials: Collection[str] | None = None,
) -> pa.Table:
    """All readable rows of one kind ("reports" or "evals"), every attempt, as they were written.

    With `columns`, only those and the fixed columns of the kind. Damage is left out with a warning.
    """
    tables = [table for _, table in iter_series(folder, kind, columns=columns, trials=trials)]
    return pa.concat_tables(
        [SERIES_KINDS[kind].empty_table(), *tables], promote_options="permissive"
    )


def iter_series(
    folder: Path,
    kind: str,
    *,
    columns: Collection[str] | None = None,
    trials: Collection[str] | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """`read_series` one trial at a time, in the order of their ids."""
    wanted = None if trials is None else set(trials)
    for where, files in _files(folder, kind):
        if wanted is not None and where.name not in wanted:
            continue
        batches = [
            _project(pa.Table.from_batches([batch]), kind, columns)
            for path in files
            for batch in stream_batches(path)
        ]
        if batches:
            yield where.name, pa.concat_tables(batches, promote_options="permissive")


def series_schema(folder: Path, kind: str) -> pa.Schema:
    """The fixed columns of the kind, then every metric by name; reads headers only."""
    fixed = SERIES_KINDS[kind]
    metrics: dict[str, pa.DataType] = {}
    for _, files in _files(folder, kind):
        for path in files:
            for field in stream_schema(path) or ():
                if field.name in fixed.names:
                    continue
                known = metrics.get(field.name, field.type)
                # Parts may disagree if a metric's type changed between versions of the code.
                metrics[field.name] = known if known == field.type else pa.float64()
    return pa.schema([*fixed, *(pa.field(name, metrics[name]) for name in sorted(metrics))])


def series_files(folder: Path) -> list[Path]:
    """Every part of every trial."""
    return [path for kind in SERIES_KINDS for _, files in _files(folder, kind) for path in files]


def _trial_folder(folder: Path, trial_id: str) -> Path:
    if not _TRIAL.fullmatch(trial_id):
        raise ValueError(f"trial id must be letters, digits, '.', '_' or '-', got {trial_id!r}")
    return folder / "series" / trial_id


def _files(folder: Path, kind: str) -> Iterator[tuple[Path, list[Path]]]:
    """(trial folder, its parts in the order they were written)."""
    if kind not in SERIES_KINDS:
        raise ValueError(f"unknown kind {kind!r}; known: {', '.join(SERIES_KINDS)}")
    root = folder / "series"
    for where in sorted(root.iterdir()) if root.is_dir() else ():
        found = [(_NAME.fullmatch(path.name), path) for path in where.glob(f"{kind}-*.arrows")]
        parts = [
            (int(match["attempt"]), int(match["part"]), path) for match, path in found if match
        ]
        if parts:
            yield where, [path for _, _, path in sorted(parts)]


def _project(table: pa.Table, kind: str, columns: Collection[str] | None) -> pa.Table:
    if columns is None:
        return table
    wanted = {*SERIES_KINDS[kind].names, *columns}
    return table.select([name for name in table.column_names if name in wanted])
