"""Folders that appear as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowpwm.datasets.errors import DatasetError


@contextmanager
def whole_folder(out: Path, needed_bytes: int) -> Iterator[Path]:
    """A folder to fill, renamed to `out` at the end and deleted where anything is raised.

    Raises DatasetError where `out` exists, a killed process left a part of it, or the disk has
    less than `needed_bytes` free; also for any OSError within, such as a full disk.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        if out.exists():
            raise DatasetError(f"{out}: exists; choose another folder or delete it")
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
        if free < needed_bytes:
            raise DatasetError(
                f"{out}: needs {amount(needed_bytes)}, the disk has {amount(free)} free"
            )
        partial.mkdir()
    except FileExistsError as error:
        raise DatasetError(
            f"{partial}: left by an interrupted run, or one is at work; delete it if none is"
        ) from error
    except OSError as error:
        raise DatasetError(f"{out}: cannot be made ({error})") from error
    try:
        yield partial
        for path in (*partial.rglob("*"), partial):
            _sync(path)
        partial.rename(out)
        _sync(out.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise DatasetError(f"{out}: writing failed, nothing is kept ({error})") from error
        raise


def amount(count: int) -> str:
    """Bytes for reading."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
