"""Files that are written beside a sweep."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from analysis.frames import Frames
from analysis.names import InputError


def place_of(frames: Frames, out: str | Path | None, name: str) -> Path:
    """`out`, or else the file `name` in the sweep's folder.

    Raises:
        InputError: `out` is a folder, or there are several sweeps and no `out`.
    """
    if out is not None:
        if Path(out).is_dir():
            raise InputError(f"{out} is a folder; give the file, as {Path(out) / name}")
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
    try:
        temp.write_text(text, encoding="utf-8")
        os.replace(temp, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path
