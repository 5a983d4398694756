"""Whether a worker is to stop: asked to by a file, cut off from its driver, or replaced."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


class StopSignal:
    """Whether to stop: the sweep asks for it, or another process trains in place of this one.

    Looks at most twice a second, as the answers may lie on a shared file system.
    """

    def __init__(self, path: Path, interval_s: float = 0.5) -> None:
        self._path = path
        self._replaced: Callable[[], bool] = lambda: False
        self._interval_s = interval_s
        self._parent = os.getppid()
        self._asked_at = float("-inf")
        self._stop = False

    def replaced_if(self, replaced: Callable[[], bool]) -> None:
        """Have it told, from now on, whether a newer attempt at the trial has begun."""
        self._replaced = replaced

    @property
    def abandoned(self) -> bool:
        """Whether the checkpoint belongs to somebody else by now.

        The raylet died, so that another attempt may be on its way; or this node was cut off for a
        while, and another attempt has begun elsewhere.
        """
        return os.getppid() != self._parent or self._replaced()

    def __call__(self) -> bool:
        """Whether to stop now; once true, always true."""
        now = time.monotonic()
        if not self._stop and now - self._asked_at >= self._interval_s:
            self._asked_at = now
            self._stop = self.abandoned or self._path.exists()
        return self._stop
