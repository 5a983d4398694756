"""Feeds a tracker from a thread of its own, through a queue that never makes training wait."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from sweeps.core.worker.tracking.tracker import Row, Tracker

WAITING_ROWS = 10_000


class Background:
    """Rows that do not fit are dropped and counted; a tracker that fails costs its own rows only.

    `warn` is called once at most while rows are written, and once at the end.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        warn: Callable[[str], None],
        waiting_rows: int = WAITING_ROWS,
    ) -> None:
        self._name, self.tracker, self._warn = name, tracker, warn
        self._rows: queue.Queue[Row | None] = queue.Queue(waiting_rows)
        self._dropped = 0
        self._thread = threading.Thread(target=self._feed, name=name, daemon=True)

    def start(self) -> None:
        """Open the tracker, without waiting for it."""
        self._thread.start()

    def write(self, row: Row | None) -> None:
        """Pass a row on, or say by None that it was the last; returns at once."""
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self._dropped += row is not None

    def join(self, deadline: float) -> None:
        """Wait for the last row to be written, until `deadline` in monotonic time."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._dropped:
            self._warn(f"{self._name} is behind: {self._dropped} rows dropped")

    def _feed(self) -> None:
        try:
            self.tracker.open()
            try:
                while (row := self._rows.get()) is not None:
                    self.tracker.write(row)
            finally:
                self.tracker.close()
        except Exception as error:  # noqa: BLE001 - a tracker must never end training
            self._warn(f"{self._name} gave up: {type(error).__name__}: {error}")
