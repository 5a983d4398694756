"""The truth of a sweep: append-only JSON lines, a checksum on each, one writer a file.

Files are `events/<writer>-<n>.jsonl` in the run folder, with n counted over all writers: their
order never asks a wall clock. A line is strict JSON and ends with the CRC-32 of all before it.
"""

from __future__ import annotations

import json
import math
import re
import threading
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sweeps.core.store.durable import AppendFile
from sweeps.core.store.owner import Driver, driver_of
from sweeps.core.store.patience import Patience
from sweeps.core.store.schema import EVENTS, SCHEMA_VERSION, UNSYNCED_EVENTS
from sweeps.core.store.state import (
    Extension,
    Failure,
    Note,
    Played,
    Rung,
    SweepState,
    TrialRecord,
    fold,
)
from sweeps.core.store.thinning import thinned

__all__ = [
    "NOTE_WRITER",
    "Driver",
    "EventLog",
    "EventScan",
    "Extension",
    "Failure",
    "Note",
    "Played",
    "Rung",
    "SweepState",
    "TrialRecord",
    "driver_of",
    "event_files",
    "fold",
    "read_events",
    "scan_events",
]

#: Writes notes and nothing else: its files change no table.
NOTE_WRITER = "note"
_HEADER = frozenset({"schema", "writer", "seq", "time", "event", "trial_id", "crc"})
_NAME = re.compile(r"(?P<writer>[A-Za-z0-9][A-Za-z0-9._-]*)-(?P<n>\d+)\.jsonl")
_WRITER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CRC = b',"crc":"'


class EventLog:
    """Appends events to a file of its own. Safe to share between threads."""

    def __init__(self, folder: Path, writer: str, patience: Patience | None = None) -> None:
        """Open a new log file in the run folder `folder`; `patience` is with storage that is full.

        Raises:
            ValueError: `writer` cannot be part of a file name.
            OSError: the folder cannot be written.
        """
        if not _WRITER.fullmatch(writer):
            raise ValueError(f"writer must be letters, digits, '.', '_' or '-', got {writer!r}")
        self.writer = writer
        self._lock = threading.Lock()
        self._seq = 0
        self._patience = patience or Patience()
        self._file = _claim(folder / "events", writer)

    @property
    def path(self) -> Path:
        """The file of this writer."""
        return self._file.path

    def append(self, event: str, trial_id: str | None = None, **payload: Any) -> None:
        """Write one event; all but `progress` are on disk when this returns.

        NaN and infinities become null; NumPy scalars and arrays, tuples and paths become JSON.

        Raises:
            ValueError: unknown event, or a payload key that the header uses.
            TypeError: a payload value that has no JSON form.
            OSError: no space or the like; the file then holds whole lines only, so the caller
                may make room and try again.
        """
        if event not in EVENTS:
            raise ValueError(f"unknown event {event!r}; known: {', '.join(EVENTS)}")
        if clash := _HEADER & payload.keys():
            raise ValueError(f"payload keys {sorted(clash)} belong to the header of an event")
        with self._lock:
            record = {
                "schema": SCHEMA_VERSION,
                "writer": self.writer,
                "seq": self._seq,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "event": event,
                "trial_id": trial_id,
                **{key: _plain(value, key) for key, value in payload.items()},
            }
            line, sync = _encode(record), event not in UNSYNCED_EVENTS
            self._patience(lambda: self._file.append(line, sync=sync))
            self._seq += 1

    def close(self) -> None:
        """Sync and close."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class EventScan:
    """The readable events in order, and what could not be read."""

    events: list[dict[str, Any]]
    torn: list[Path] = field(default_factory=list)  # files whose last line was cut by a crash
    corrupt: dict[Path, int] = field(default_factory=dict)  # file -> lines damaged within it


def read_events(folder: Path, *, heartbeats: int | None = None) -> list[dict[str, Any]]:
    """The events of a run folder, ordered by (start of the writer, seq).

    Payload keys lie beside the header keys schema, writer, seq, time, event and trial_id. A torn
    last line is what a crash leaves and is cut; damaged lines before it are left out with a
    warning. With `heartbeats`, of the `progress` events of a trial between two others of its events
    only so many are read, evenly spaced, the last one among them: the state is the same.
    """
    scan = scan_events(folder, heartbeats=heartbeats)
    for path, lines in scan.corrupt.items():
        warnings.warn(f"{path}: {lines} damaged event line(s) left out", stacklevel=2)
    return scan.events


def scan_events(folder: Path, *, heartbeats: int | None = None) -> EventScan:
    """Like `read_events`, with the damage as data and no warning."""
    scan = EventScan([])
    for path in event_files(folder):
        *lines, tail = path.read_bytes().split(b"\n")
        for line in lines if heartbeats is None else thinned(lines, heartbeats):
            event = _decode(line)
            if event is None:
                scan.corrupt[path] = scan.corrupt.get(path, 0) + 1
            else:
                scan.events.append(event)
        if tail:
            event = _decode(tail)
            if event is None:
                scan.torn.append(path)
            else:
                scan.events.append(event)
    return scan


def event_files(folder: Path) -> list[Path]:
    """The event files of a run folder, oldest writer first."""
    found = [(_NAME.fullmatch(path.name), path) for path in (folder / "events").glob("*.jsonl")]
    named = [(int(match["n"]), match["writer"], path) for match, path in found if match]
    return [path for _, _, path in sorted(named)]


def _claim(folder: Path, writer: str) -> AppendFile:
    """A new file after all that exist; another writer may take the same number at this moment."""
    folder.mkdir(parents=True, exist_ok=True)  # or its own error would look like a number taken
    while True:
        taken = [match["n"] for match in map(_NAME.fullmatch, _names(folder)) if match]
        n = max(map(int, taken), default=-1) + 1
        try:
            return AppendFile(folder / f"{writer}-{n:04d}.jsonl")
        except FileExistsError:
            continue


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.jsonl")]


def _encode(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, allow_nan=False, separators=(",", ":")).encode()
    return b'%b%b%08x"}\n' % (body[:-1], _CRC, zlib.crc32(body))


def _decode(line: bytes) -> dict[str, Any] | None:
    """The event of a line, or None if any byte of it is damaged."""
    body, mark, check = line.rpartition(_CRC)
    body += b"}"
    if not mark or check != b'%08x"}' % zlib.crc32(body):
        return None
    return json.loads(body)


def _plain(value: Any, key: str) -> Any:
    """`value` in JSON types only."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, key) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return _plain(value.tolist(), key)
    raise TypeError(
        f"event payload {key!r} has type {type(value).__name__}, which has no JSON form"
    )
