"""Ctrl-C, SIGTERM, SIGUSR1, SIGUSR2: save and stop; a second one: stop at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil

from sweeps.core.store.schema import ExitCode

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
#: After this the sweep is left as it was last saved. The promise to the user is 20 s in all.
PATIENCE_S = 13.0
#: The same signal again within this time is the first one: batch systems send it to the driver and
#: to its shell, which passes it on.
ECHO_S = 1.0


class Interrupted(Exception):
    """A stop was asked for; what was reached is saved."""


class Interrupts:
    """Whether a stop was asked for, by a signal or from within. Handlers only set a flag: the
    lock of an Event could be held by the very thread that is interrupted.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.reason: str | None = None  # for the user; None where an error of our own is the cause
        self.requested_at: float | None = None
        self._signalled_at = 0.0
        self._sentinel: Path | None = None
        self._old: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals; in the main thread. May be called again to take them back."""
        before: dict[int, Any] = {n: signal.signal(n, self._handle) for n in SIGNALS}
        self._old = self._old or before

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old = {}

    def tell_workers_by(self, sentinel: Path) -> None:
        """The file whose presence stops the workers; a stop asked for before counts."""
        self._sentinel = sentinel
        if self.requested:
            self._write_sentinel()

    @property
    def requested(self) -> bool:
        """Whether to stop."""
        return self.requested_at is not None

    @property
    def overdue(self) -> bool:
        """Whether saving takes longer than we promised."""
        return self.requested_at is not None and time.monotonic() - self.requested_at > PATIENCE_S

    def request(self, reason: str | None = None) -> None:
        """Ask every worker to save and stop; the first reason counts."""
        self.reason = self.reason or reason
        if self.requested_at is None:
            self.requested_at = time.monotonic()
            self._write_sentinel()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name, now = signal.Signals(number).name, time.monotonic()
        if self.signal_name is not None:
            if name == self.signal_name and now - self._signalled_at < ECHO_S:
                return
            sys.stderr.write("\nsecond signal: stopping at once\n")
            leave(ExitCode.INTERRUPTED)
        self.signal_name, self._signalled_at = name, now
        self.request(name)

    def _write_sentinel(self) -> None:
        if self._sentinel is not None:
            # On a full disk the workers are ended by Ray's shutdown instead.
            with suppress(OSError):
                self._sentinel.touch()


def leave(code: int) -> NoReturn:
    """End this process and all that it started, at once and whatever its threads are doing."""
    # Most of Ray follows its driver by itself, but two of its agents would stay for a minute.
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
