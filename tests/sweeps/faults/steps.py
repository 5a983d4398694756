"""Every change that a process makes to the files of a folder, by name; a test may break in before
any of them.

Installed in the test's own child process: production code knows nothing of it.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_OPERATIONS = (
    *("write", "fsync", "ftruncate", "mkdir", "rename", "replace", "unlink", "rmdir", "link"),
)
# A temporary name holds a process id or something random.
_TEMPORARY = re.compile(r"\.(\w+(?:\.\w+)?)\.[0-9a-f]+\.tmp")


class Breakage(Protocol):
    """What happens before a step: `n` counts the steps from 0, `nth` those of this name."""

    def before(self, name: str, n: int, nth: int) -> None:
        """Let the step happen, raise what the disk would answer, or end the process."""
        ...


@dataclass(frozen=True)
class Nothing:
    """The steps are only counted."""

    def before(self, name: str, n: int, nth: int) -> None:
        """Let it happen."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL before step `n` of all."""

    n: int

    def before(self, name: str, n: int, nth: int) -> None:
        """Die, or let it happen."""
        if n == self.n:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KillBefore:
    """SIGKILL before the `nth` step of this name, from 0."""

    name: str
    nth: int

    def before(self, name: str, n: int, nth: int) -> None:
        """Die, or let it happen."""
        if (name, nth) == (self.name, self.nth):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Refuse:
    """From the `nth` step that matches `pattern` on, storage answers `error` for `seconds`."""

    pattern: str
    nth: int
    error: int
    seconds: float
    seen: int = 0
    until: float | None = None

    def before(self, name: str, n: int, nth: int) -> None:
        """Raise, or let it happen."""
        if self.until is None:
            if not re.search(self.pattern, name):
                return
            self.seen += 1
            if self.seen <= self.nth:
                return
            self.until = time.monotonic() + self.seconds
        # What only takes away goes through, as on a full disk.
        if time.monotonic() < self.until and name.split()[0] not in ("unlink", "rmdir"):
            raise OSError(self.error, os.strerror(self.error))


@dataclass(frozen=True)
class Slow:
    """Every fsync takes this long."""

    seconds: float

    def before(self, name: str, n: int, nth: int) -> None:
        """Wait."""
        if name.startswith("fsync"):
            time.sleep(self.seconds)


class Steps:
    """The steps of this process below `folder`, from `install` on."""

    def __init__(self, folder: Path, breakage: Breakage) -> None:
        self.names: list[str] = []
        self._folder = str(folder.resolve())
        self._breakage = breakage

    def install(self) -> None:
        """Wrap the functions of `os` through which Python changes files."""
        for operation in _OPERATIONS:
            setattr(os, operation, self._watched(operation, getattr(os, operation)))

    def _watched(self, operation: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*args: Any, **options: Any) -> Any:
            places = [self._place(args[0], options)]
            if operation in ("rename", "replace", "link"):
                places.append(self._place(args[1], options))
            if None not in places:
                name = f"{operation} {' -> '.join(map(str, places))}"
                n, nth = len(self.names), self.names.count(name)
                self.names.append(name)
                self._breakage.before(name, n, nth)
            return real(*args, **options)

        return call

    def _place(self, target: Any, options: dict[str, Any]) -> str | None:
        """The path below the folder, None for one elsewhere."""
        if isinstance(target, int):
            path = os.readlink(f"/proc/self/fd/{target}")
        else:
            path = os.fspath(target)
            if (above := options.get("dir_fd")) is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{above}"), path)
        if not path.startswith(f"{self._folder}/"):
            return None
        return _TEMPORARY.sub(r".\1.tmp", path[len(self._folder) + 1 :])
