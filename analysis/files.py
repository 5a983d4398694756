"""Files that are written beside a sweep."""

from __future__ import annotations

import os
from pathlib import Path

from analysis.frames import Frames
from analysis.names import InputError


def place_of(frames: Frames, out: str | Path | None, name: str) -> Path:
    """`out`, or else the file `name` in the sweep's folder.

    Raises:
        InputError: there are several sweeps, and nothing says where the file should go.
    """
    if out is not None:
        return Path(out)
    if frames.members:
        raise InputError(f"{frames.name}: say where {name} should go")
    return frames.path / name


def write(path: Path, text: str) -> Path:
    """Write a file so that a reader sees the old or the new one, never a part.

    Raises:
        OSError: it cannot be written.
    """
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(text, encoding="utf-8")
    os.replace(temp, path)
    return path
