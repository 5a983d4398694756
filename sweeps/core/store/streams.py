"""One part after another of an Arrow IPC stream that a crash may cut, with a checksum a batch."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sweeps.core.store.durable import AppendFile
from sweeps.core.store.patience import Patience
from sweeps.core.store.schema import metric_type, with_version

_CRC = b"crc32"
# ArrowInvalid and a name that is no UTF-8 are ValueErrors; the file itself is in memory by then.
_UNREADABLE = (pa.ArrowException, ValueError, EOFError, OSError)
_HEAD_BYTES = 1 << 18  # room for a schema of more than a thousand metrics


class StreamWriter:
    """The parts `<prefix>-<n>.arrows`; a new one begins when a column appears."""

    def __init__(self, prefix: Path, schema: pa.Schema, patience: Patience) -> None:
        self.rows: list[dict[str, Any]] = []
        self._prefix = prefix
        self._part = 0
        self._schema = schema
        self._patience = patience
        self._file: AppendFile | None = None
        self._sink = _Sink()
        self._writer: Any = None
        self._unwritten = b""

    def open(self) -> AppendFile:
        """The open part; a new one is created now.

        Raises:
            FileExistsError: somebody else writes this stream.
        """
        if self._file is None:
            path = self._prefix.with_name(f"{self._prefix.name}-{self._part:03d}.arrows")
            self._file = AppendFile(path)
            self._part += 1
        return self._file

    def flush(self, dtypes: Mapping[str, pa.DataType]) -> None:
        """Put `rows` on disk; the types of new columns come from `dtypes`, else from their names.

        Raises:
            OSError: no space or the like; the rows wait for the next flush.
        """
        self._write()
        if not self.rows:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        new = [name for name in names if name not in self._schema.names]
        if new and self._file is not None and self._file.size_bytes:
            self.close()
        for name in new:
            self._schema = self._schema.append(pa.field(name, dtypes.get(name, metric_type(name))))
        batch = pa.RecordBatch.from_pylist(self.rows, schema=_signed(self._schema))
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._sink, batch.schema)
        check = {_CRC: str(zlib.crc32(batch.serialize()))}
        self._writer.write_batch(batch, custom_metadata=check)
        # The rows are bytes now; if the disk is full they wait here, ahead of newer rows.
        self._unwritten = self._sink.take()
        self.rows = []
        self._write()

    def close(self) -> None:
        """Mark the end of the stream; `rows` are left alone."""
        if self._writer is not None:
            self._writer.close()
            self._unwritten += self._sink.take()  # the end-of-stream mark
            self._writer = None
        if self._file is not None:
            self._write()
            self._file.close()
            self._file = None

    def _write(self) -> None:
        if self._unwritten:
            self._patience(lambda: self.open().append(self._unwritten, sync=True))
            self._unwritten = b""


class _Sink:
    """Takes an Arrow stream in memory, so that the file grows by whole batches only."""

    closed = False

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: Any) -> int:
        self._bytes += memoryview(data)
        return len(data)

    def flush(self) -> None:
        """Nothing lies between `write` and the bytes."""

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._bytes.clear()
        return taken


def stream_schema(path: Path) -> pa.Schema | None:
    """The schema of a part; None if it was not written whole, or was damaged since."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    try:
        with pa.ipc.open_stream(head) as stream:
            return stream.schema if _is_intact(stream.schema) else None
    except _UNREADABLE:
        return None


def stream_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The whole, undamaged batches of a part; a warning names the part if it holds anything else.

    A part without its end-of-stream mark is whole: its writer is at work, or was killed.
    """
    data = path.read_bytes()
    if not data:
        return
    try:
        with pa.ipc.open_stream(data) as stream:
            if not _is_intact(stream.schema):
                raise ValueError("its header was changed")
            while True:
                read = stream.read_next_batch_with_custom_metadata()
                check = (read.custom_metadata or {}).get(_CRC)
                if check == str(zlib.crc32(read.batch.serialize())).encode():
                    yield read.batch
                else:
                    warnings.warn(f"{path}: a damaged batch was left out", stacklevel=2)
    except StopIteration:
        return
    except _UNREADABLE as error:
        warnings.warn(f"{path}: cut or damaged, read up to there ({error})", stacklevel=2)


def _signed(schema: pa.Schema) -> pa.Schema:
    """The schema with its version and its own checksum as metadata."""
    check = str(zlib.crc32(schema.remove_metadata().serialize()))
    return with_version(schema).with_metadata({**with_version(schema).metadata, _CRC: check})


def _is_intact(schema: pa.Schema) -> bool:
    check = str(zlib.crc32(schema.remove_metadata().serialize())).encode()
    return (schema.metadata or {}).get(_CRC) == check
