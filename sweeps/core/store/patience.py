"""Waiting for storage that is full or read-only, rather than losing what was to be written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sweeps.core.store.durable import STORAGE_ERRORS

#: Long enough for somebody to make room, short enough for a job that would pay for the wait.
PATIENCE_S = 600.0
LOOK_EVERY_S = 1.0

T = TypeVar("T")


class Patience:
    """Tries a write again until storage takes it, for at most `seconds` in a row.

    `say` is told when the waiting begins and when it is over; once `give_up` says so, nothing
    waits any longer.
    """

    def __init__(
        self,
        seconds: float = 0.0,
        give_up: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._seconds = seconds
        self._give_up = give_up
        self._say = say
        self._since: float | None = None

    def __call__(self, write: Callable[[], T]) -> T:
        """What `write` returns. It must leave nothing behind when it fails.

        Raises:
            OSError: the last one of `write`; what comes after it does not wait again.
        """
        while True:
            try:
                result = write()
            except OSError as error:
                if error.errno not in STORAGE_ERRORS or not self._wait(error):
                    raise
            else:
                if self._since is not None and self._seconds:
                    self._say(f"storage takes writes again after {self._waited_s:.0f} s")
                self._since = None
                return result

    @property
    def _waited_s(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def _wait(self, error: OSError) -> bool:
        """Whether it is worth another try, after a while."""
        if self._since is None:
            self._since = time.monotonic()
            if self._seconds:
                self._say(f"storage: {error}; waiting up to {self._seconds:.0f} s for it")
        if self._give_up() or self._waited_s >= self._seconds:
            return False
        time.sleep(LOOK_EVERY_S)
        return True
