"""Writes that survive a crash: whole files by rename, appended files by rollback."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from pathlib import Path

TEMP_SUFFIX = ".tmp"
#: Storage that is full, over its quota, read-only or broken: nothing that the writer did wrong.
STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temp_path(path: Path) -> Path:
    """A fresh name beside `path`, recognisable as a leftover by its suffix."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMP_SUFFIX}")


def publish(temp: Path, path: Path) -> None:
    """Give a finished temporary file its final name; both contents and name are then on disk."""
    fd = os.open(temp, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temp, path)
    sync_folder(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` so that a reader or a crash finds the old or the new contents, never a part.

    Raises:
        OSError: no space, no permission; the temporary file is removed.
    """
    temp = temp_path(path)
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(fd, "wb") as file:
            file.write(data)
        publish(temp, path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


class AppendFile:
    """A new file that only grows by whole pieces: a piece that does not fit is rolled back."""

    def __init__(self, path: Path) -> None:
        """Create `path`.

        Raises:
            FileExistsError: somebody else writes this file.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.path = path
        self._fd = os.open(path, flags, 0o644)
        self._size = 0
        self._lock = threading.Lock()
        try:
            sync_folder(path.parent)
        except OSError:
            # Not durable, so not there: the next try is to find the name free.
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes known to be whole pieces."""
        return self._size

    def append(self, data: bytes, *, sync: bool) -> None:
        """Add one piece; with `sync` it is on disk when this returns.

        Raises:
            OSError: no space or the like; the file then ends where it ended before.
        """
        with self._lock:
            try:
                # A rollback that failed last time may have left part of a piece behind.
                if os.fstat(self._fd).st_size != self._size:
                    os.ftruncate(self._fd, self._size)
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
                if sync:
                    os.fsync(self._fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._size)
                raise
            self._size += len(data)

    def sync(self) -> None:
        """Put all pieces on disk."""
        with self._lock:
            os.fsync(self._fd)

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        with self._lock:
            if self._fd < 0:
                return
            try:
                os.fsync(self._fd)
            finally:
                os.close(self._fd)
                self._fd = -1
