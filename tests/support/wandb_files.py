"""Reads the file of a W&B run: protobuf records in the framing of LevelDB's log."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
FILE_HEADER = 7
RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, kind
FULL, LAST = 1, 4


def records(run_folder: Path) -> list[Record]:
    """Every whole record of the run in this folder."""
    (path,) = run_folder.glob("*.wandb")
    found = []
    for data in _payloads(path.read_bytes()):
        found.append(Record())
        found[-1].ParseFromString(data)
    return found


def _payloads(content: bytes) -> Iterator[bytes]:
    at, parts = FILE_HEADER, b""
    while at + RECORD_HEADER.size <= len(content):
        if BLOCK - at % BLOCK < RECORD_HEADER.size:
            at += BLOCK - at % BLOCK  # the rest of a block that is too small for a header
            continue
        _, length, kind = RECORD_HEADER.unpack_from(content, at)
        at += RECORD_HEADER.size
        parts += content[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
