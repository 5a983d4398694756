"""Small file systems of one's own, to be filled and made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BALLAST = "ballast"


@contextmanager
def mounted(place: Path, size: str) -> Iterator[Path | None]:
    """A tmpfs of this size at `place`; None where that is not permitted."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield place
    finally:
        # Lazily: a process of a test that failed may still be in it.
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def small_disk(place: Path, size: str = "5m") -> Iterator[Path]:
    """`mounted` for a test, which is skipped where that is not permitted."""
    with mounted(place, size) as disk:
        if disk is None:
            pytest.skip("mounting a small file system is not permitted here")
        yield disk


def remount(place: Path, mode: str) -> None:
    """Make it read-only ("ro") or writable ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> None:
    """Fill it up to so many bytes, also while others write."""
    with (place / BALLAST).open("ab", buffering=0) as ballast:
        while (free := _free(place)) > leave:
            size = os.fstat(ballast.fileno()).st_size
            with suppress(OSError):  # taken by somebody else in between
                os.posix_fallocate(ballast.fileno(), size, free - leave)


def _free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def make_room(place: Path) -> None:
    """Take the filling away."""
    (place / BALLAST).unlink()
