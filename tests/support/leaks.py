"""Looks for a word in everything that a program left behind, also where it is compressed."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def hits(word: str, places: Iterable[Path]) -> list[Path]:
    """The files below these folders that hold the word, in their name, bytes, rows or members."""
    files = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    return [path for path in files if word in str(path) or _holds(path, word)]


def _holds(path: Path, word: str) -> bool:
    content = path.read_bytes()
    if word.encode() in content or word.encode("utf-16-le") in content:
        return True
    if path.suffix == ".parquet":
        return _in_table(pq.read_table(path), word)
    if path.suffix in (".arrows", ".arrow"):
        return any(_in_table(table, word) for table in _batches(content))
    if path.suffix == ".gz":
        return word.encode() in gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(word.encode() in archive.read(name) for name in archive.namelist())
    return False


def _batches(content: bytes) -> Iterator[pa.Table]:
    """What can be read of a stream, which may have been cut off."""
    try:
        with pa.ipc.open_stream(content) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError):
        return


def _in_table(table: pa.Table, word: str) -> bool:
    metadata = b" ".join((table.schema.metadata or {}).values())
    if word in " ".join(table.column_names) or word.encode() in metadata:
        return True
    return any(_in_value(value, word) for column in table.columns for value in column.to_pylist())


def _in_value(value: Any, word: str) -> bool:
    if isinstance(value, str):
        return word in value
    if isinstance(value, bytes):
        return word.encode() in value
    if isinstance(value, dict):
        return any(_in_value(part, word) for item in value.items() for part in item)
    return isinstance(value, list | tuple) and any(_in_value(part, word) for part in value)
