"""Whether a worker is to stop, as the driver says by a file."""

from __future__ import annotations

import os
import time
from pathlib import Path


class StopSignal:
    """Whether to stop: the sweep asks for it, or the Ray node of this worker is gone.

    Looks at the file at most twice a second, as it may lie on a shared file system.
    """

    def __init__(self, path: Path, interval_s: float = 0.5) -> None:
        self._path = path
        self._interval_s = interval_s
        self._parent = os.getppid()
        self._asked_at = float("-inf")
        self._stop = False

    @property
    def orphaned(self) -> bool:
        """The raylet died, and with it the driver: another attempt may be on its way."""
        return os.getppid() != self._parent

    def __call__(self) -> bool:
        """Whether to stop now; once true, always true."""
        now = time.monotonic()
        if not self._stop and now - self._asked_at >= self._interval_s:
            self._asked_at = now
            self._stop = self.orphaned or self._path.exists()
        return self._stop
