"""The disk guard: with little room left no trial starts, and those that run can still save."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.core.forecast.forecast import size_text

#: Rows, logs and tables need room whatever the checkpoints are.
LEAST_BYTES = 256 * 10**6
LOOK_EVERY_S = 5.0


class DiskGuard:
    """Holds new trials back while less is free than those at work may write.

    `working_bytes` tells what all trials that run at a time may still save. `say` is called when
    trials are held back, and when they start again.
    """

    def __init__(
        self, folder: Path, working_bytes: Callable[[], int], say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._working_bytes = working_bytes
        self._say = say
        self._looked_at = float("-inf")
        self._held = False
        self._starved_since: float | None = None

    def starved_s(self, running: int) -> float:
        """Seconds for which trials were held back and none of those at work was `running`.

        Then nothing of ours will make room any more.
        """
        if not self._held or running:
            self._starved_since = None
            return 0.0
        now = time.monotonic()
        self._starved_since = self._starved_since or now
        return now - self._starved_since

    def holds(self) -> bool:
        """Whether a new trial has to wait; looks at the disk at most every few seconds."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return self._held
        self._looked_at = now
        free = shutil.disk_usage(self._folder).free
        needed = max(LEAST_BYTES, self._working_bytes())
        held = free < needed
        if held and not self._held:
            self._say(
                f"WARN disk: {size_text(free)} free in {self._folder}, {size_text(needed)} "
                "needed: no new trial starts until there is room; those that run go on"
            )
        elif self._held and not held:
            self._say(f"disk: {size_text(free)} free again, trials start")
        self._held = held
        return held
