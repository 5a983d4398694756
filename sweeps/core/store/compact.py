"""The tables of a sweep: one view over its events and series, in Parquet or built on the spot.

`compact` writes `tables/{trials,reports,evals}-<gen>.parquet` and then `MANIFEST-<gen>.json`. The
manifest makes the generation exist; a crash before it leaves the last one. The files of the
generation before stay until the next compaction.
"""

from __future__ import annotations

import json
import re
import warnings
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweeps.core.store.durable import TEMP_SUFFIX, write_atomic
from sweeps.core.store.events import NOTE_WRITER, SweepState, event_files, fold, read_events
from sweeps.core.store.parquet import (
    DamagedTable,
    conform,
    footer_crc,
    parquet_schema,
    read_parquet,
    write_parquet,
)
from sweeps.core.store.schema import EVALS, KINDS, REPORTS, SCHEMA_VERSION
from sweeps.core.store.series import iter_series, series_files, series_schema
from sweeps.core.store.views import latest_rows, trials_table

_MANIFEST = re.compile(r"MANIFEST-(\d{6})\.json")


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a generation."""

    name: str
    rows: int
    size_bytes: int
    footer_crc32: int


@dataclass(frozen=True)
class Manifest:
    """One generation of the tables. `inputs_crc32` names the events and series it was made from."""

    generation: int
    written_at: str
    inputs_crc32: int
    files: dict[str, TableFile]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Tables:
    """The tables that were asked for; the others have their columns and no rows."""

    trials: pa.Table
    reports: pa.Table
    evals: pa.Table


def compact(folder: Path) -> Manifest:
    """Write the tables of the run folder as a new generation, unless the newest is still right.

    Raises:
        OSError: no space or the like; the last generation stays valid.
    """
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    inputs = _inputs_crc(folder)
    manifests = _manifests(folder)
    for manifest in manifests[:1]:
        damaged = _damaged(folder, manifest)
        for path in damaged:
            if path.exists():
                path.replace(path.with_name(f"bad_{path.name}"))
        if not damaged and (manifest.inputs_crc32 == inputs or not _has_inputs(folder)):
            return manifest
    generation = max(_generations(folder), default=0) + 1
    live = {
        "reports": (series_schema(folder, "reports"), _latest(folder, "reports")),
        "evals": (EVALS, _latest(folder, "evals")),
    }
    files = {
        kind: _write(tables, f"{kind}-{generation:06d}.parquet", schema, parts)
        for kind, (schema, parts) in live.items()
    }
    evals = read_parquet(tables / files["evals"].name)
    trials = trials_table(fold(read_events(folder)), evals)
    name = f"trials-{generation:06d}.parquet"
    files["trials"] = _write(tables, name, trials.schema, [trials])
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = Manifest(generation, written_at, inputs, files)
    _write_manifest(tables / f"MANIFEST-{generation:06d}.json", manifest)
    _clear(tables, [manifest, *manifests[:1]])
    return manifest


def read_tables(
    folder: Path,
    columns: Collection[str] | None = None,
    *,
    kinds: Collection[str] = tuple(KINDS),
    trials: Collection[str] | None = None,
) -> Tables:
    """The tables of a run folder, finished or running; the latest attempt of every row.

    Parquet is used if it was made from the events and series as they are now; otherwise, or if a
    file is damaged, the tables are built from those. A folder that kept its tables only gives its
    newest generation that is whole.

    Args:
        columns: metrics of `reports` to read beside its fixed columns; None: all.
        kinds: tables to read; the others come back empty.
        trials: ids of the trials to read; None: all.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: unknown kind or column, with the known ones.
        DamagedTable: tables are all there is, and none is whole.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no results folder {folder}")
    if unknown := set(kinds) - KINDS.keys():
        raise ValueError(f"unknown tables {sorted(unknown)}; known: {', '.join(KINDS)}")
    live = _has_inputs(folder)
    inputs = _inputs_crc(folder) if live else 0
    for manifest in _manifests(folder):
        if live and manifest.inputs_crc32 != inputs:
            break
        try:
            return _read_generation(folder, manifest, columns, kinds, trials)
        except DamagedTable as error:
            warnings.warn(f"damaged table passed over: {error}", stacklevel=2)
    if not live and any(_generations(folder)):
        raise DamagedTable(f"{folder / 'tables'}: no generation is whole, and no events are left")
    return _build(folder, columns, kinds, trials)


def trials_heard(state: SweepState) -> pa.Table:
    """The trials as the driver heard of them: no series is read, and there are no peaks."""
    return trials_table(state, EVALS.empty_table())


def _build(
    folder: Path,
    columns: Collection[str] | None,
    kinds: Collection[str],
    trials: Collection[str] | None,
) -> Tables:
    """The tables from events and series."""
    found = {kind: schema.empty_table() for kind, schema in KINDS.items()}
    if "reports" in kinds:
        schema = _project(series_schema(folder, "reports"), columns)
        rows = _latest(folder, "reports", columns=columns, trials=trials)
        found["reports"] = _concat(schema, rows)
    if "evals" in kinds or "trials" in kinds:
        found["evals"] = _concat(EVALS, _latest(folder, "evals", trials=trials))
    if "trials" in kinds:
        state = fold(read_events(folder))
        if trials is not None:
            state.trials = {key: state.trials[key] for key in trials if key in state.trials}
        found["trials"] = trials_table(state, found["evals"])
    if "evals" not in kinds:
        found["evals"] = EVALS.empty_table()
    return Tables(**found)


def _read_generation(
    folder: Path,
    manifest: Manifest,
    columns: Collection[str] | None,
    kinds: Collection[str],
    trials: Collection[str] | None,
) -> Tables:
    found = {kind: schema.empty_table() for kind, schema in KINDS.items()}
    if damaged := _damaged(folder, manifest, kinds):
        raise DamagedTable(", ".join(map(str, damaged)))
    for kind in kinds:
        path = folder / "tables" / manifest.files[kind].name
        names = None
        if kind == "reports" and columns is not None:
            names = _project(parquet_schema(path), columns).names
        found[kind] = read_parquet(path, columns=names, trials=trials)
    return Tables(**found)


def _project(schema: pa.Schema, columns: Collection[str] | None) -> pa.Schema:
    if columns is None:
        return schema
    if unknown := set(columns) - set(schema.names):
        raise ValueError(f"unknown columns {sorted(unknown)}; known: {', '.join(schema.names)}")
    wanted = {*REPORTS.names, *columns}
    return pa.schema([field for field in schema if field.name in wanted])


def _concat(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *(conform(table, schema) for table in tables)])


def _latest(folder: Path, kind: str, **selection: Any) -> Iterator[pa.Table]:
    return (latest_rows(table) for _, table in iter_series(folder, kind, **selection))


def _write(tables: Path, name: str, schema: pa.Schema, parts: Iterable[pa.Table]) -> TableFile:
    path = tables / name
    rows = write_parquet(path, schema, parts)
    return TableFile(name, rows, path.stat().st_size, footer_crc(path))


def _write_manifest(path: Path, manifest: Manifest) -> None:
    body = json.dumps(asdict(manifest), sort_keys=True)
    write_atomic(path, json.dumps({"manifest": body, "crc32": zlib.crc32(body.encode())}).encode())


def _manifests(folder: Path) -> list[Manifest]:
    """The valid manifests, newest first."""
    found: list[Manifest] = []
    for generation in sorted(_generations(folder), reverse=True):
        path = folder / "tables" / f"MANIFEST-{generation:06d}.json"
        try:
            outer = json.loads(path.read_bytes())
            if outer["crc32"] != zlib.crc32(outer["manifest"].encode()):
                raise ValueError("checksum differs")
            fields = json.loads(outer["manifest"])
            files = {kind: TableFile(**file) for kind, file in fields.pop("files").items()}
            manifest = Manifest(**fields, files=files)
        except FileNotFoundError:
            continue  # cleared away by a compaction at this moment
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"{path}: not a manifest ({error})", stacklevel=2)
            continue
        if manifest.schema_version == SCHEMA_VERSION:
            found.append(manifest)
    return found


def _generations(folder: Path) -> list[int]:
    names = (path.name for path in (folder / "tables").glob("MANIFEST-*.json"))
    return [int(match[1]) for match in map(_MANIFEST.fullmatch, names) if match]


def _damaged(folder: Path, manifest: Manifest, kinds: Collection[str] = tuple(KINDS)) -> list[Path]:
    """The files of a generation whose size or footer is not as it was written."""
    damaged: list[Path] = []
    for kind in kinds:
        file = manifest.files[kind]
        path = folder / "tables" / file.name
        try:
            intact = path.stat().st_size == file.size_bytes
            intact = intact and footer_crc(path) == file.footer_crc32
        except (FileNotFoundError, DamagedTable):
            intact = False
        if not intact:
            damaged.append(path)
    return damaged


def _clear(tables: Path, keep: list[Manifest]) -> None:
    """Remove what no kept generation names; the manifest goes before its files."""
    names = {file.name for manifest in keep for file in manifest.files.values()}
    names |= {f"MANIFEST-{manifest.generation:06d}.json" for manifest in keep}
    old = [*tables.glob("MANIFEST-*.json"), *tables.glob("*.parquet")]
    for path in [*old, *tables.glob(f".*{TEMP_SUFFIX}")]:
        if path.name not in names and not path.name.startswith("bad_"):
            path.unlink(missing_ok=True)


def _has_inputs(folder: Path) -> bool:
    return bool(_telling(folder))


def _telling(folder: Path) -> list[Path]:
    """The event files that tables are made from; a note must not make them stale."""
    return [f for f in event_files(folder) if f.name.rpartition("-")[0] != NOTE_WRITER]


def _inputs_crc(folder: Path) -> int:
    """A checksum of the names and sizes of all events and series: they only ever grow."""
    crc = 0
    for path in [*_telling(folder), *series_files(folder)]:
        crc = zlib.crc32(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode(), crc)
    return crc
