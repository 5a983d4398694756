"""Parquet as the tables use it: compressed, checksummed, and never seen half written."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.core.store.durable import publish, temp_path
from sweeps.core.store.schema import with_version

ROW_GROUP_ROWS = 131_072


class DamagedTable(RuntimeError):
    """A Parquet file that is missing, cut or changed."""


def write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write `tables` one after another as one durable file; return its rows.

    Memory: one row group and the largest of the tables.

    Raises:
        OSError: no space or the like; nothing is left under any name.
    """
    temp = temp_path(path)
    rows = 0
    try:
        with pq.ParquetWriter(temp, with_version(schema), **_encoding(schema)) as writer:
            for group in _groups(schema, tables):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                rows += group.num_rows
        publish(temp, path)
    except BaseException:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        raise
    return rows


def read_parquet(
    path: Path,
    *,
    columns: Collection[str] | None = None,
    trials: Collection[str] | None = None,
) -> pa.Table:
    """Read a table, or some of its columns, or the rows of some trials.

    Raises:
        DamagedTable: any byte that was read differs from what was written.
    """
    try:
        table = pq.read_table(
            path,
            columns=None if columns is None else list(columns),
            filters=None if trials is None else [("trial_id", "in", list(trials))],
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DamagedTable(f"{path}: {error}") from error
    return table


def parquet_schema(path: Path) -> pa.Schema:
    """The columns of a table.

    Raises:
        DamagedTable: the footer cannot be read.
    """
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DamagedTable(f"{path}: {error}") from error


def footer_crc(path: Path) -> int:
    """CRC-32 of the footer, which the page checksums do not cover.

    Raises:
        DamagedTable: the file has no footer.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little") + 8
            if tail[4:] != b"PAR1" or length > size:
                raise DamagedTable(f"{path}: no Parquet footer")
            file.seek(size - length)
            return zlib.crc32(file.read(length))
    except OSError as error:
        raise DamagedTable(f"{path}: {error}") from error


def _groups(schema: pa.Schema, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Whole row groups, then the rest; at least one table, so that an empty file has columns."""
    waiting = schema.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, conform(table, schema)])
        while waiting.num_rows >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS)
            waiting = waiting.slice(ROW_GROUP_ROWS)
    yield waiting


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`: missing ones null, others dropped."""
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """Floats split by byte, strings by dictionary; both shrink what zstd then compresses."""
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    encodings: dict[str, str] = {}
    for field in schema:
        if pa.types.is_floating(field.type):
            encodings[field.name] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_list(field.type):
            encodings[f"{field.name}.list.element"] = "BYTE_STREAM_SPLIT"
        elif pa.types.is_integer(field.type):
            encodings[field.name] = "DELTA_BINARY_PACKED"
    return {
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": strings,
        "column_encoding": encodings,
        "write_page_checksum": True,
        "write_statistics": True,
    }
