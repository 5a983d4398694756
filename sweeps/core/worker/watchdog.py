"""A trial's own watch over its memory and its progress: a thread in its worker, without Ray.

Ray schedules by a memory request and enforces nothing; the kernel enforces a group's limit by
SIGKILL. The watchdog acts before either: it asks for a clean stop, and ends the process if memory
still grows. A run in which nothing moves is ended too, with its stacks in the log; one that does
not even let this thread run, by a timer that needs no Python.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self, TextIO

import psutil

WARN_SHARE, STOP_SHARE = 0.80, 0.95
#: Status of a process that the watchdog ended.
EXIT_CODE = 70
#: Of the time in which nothing may move: in which the watchdog itself may not.
GIL_PATIENCE = 1.5
GIB = 2**30

Progress = Callable[[], tuple[int, ...]]


@dataclass(frozen=True)
class Limits:
    """What a trial may use, and for how long it may stand still: max(hang_epochs epochs, hang_s).

    memory_bytes: 0 for no limit; a look every sample_s, at new child processes every children_s.
    busy_s: how long starting, a save or a report may take, in which no progress is seen. It is more
    than the ten minutes for which a report waits for storage.
    """

    memory_bytes: int = 0
    hang_s: float = 300.0
    hang_epochs: float = 10.0
    busy_s: float = 1800.0
    sample_s: float = 0.5
    children_s: float = 10.0
    last_words_s: float = 10.0


@dataclass
class MemoryWatch:
    """What to do about memory use, from the samples of it. Sizes in bytes."""

    limit: int
    peak: int = 0
    warned: bool = False
    asked_at: int | None = None  # the use at which a clean stop was asked for

    def look(self, used: int) -> str:
        """Take a sample: "warn" and "stop" come once, "over" as long as it holds, else ""."""
        self.peak = max(self.peak, used)
        if not self.limit:
            return ""
        if self.asked_at is not None:
            # Over it means still growing: what jumped past the limit and stays waits for the
            # end of its epoch.
            bound = max(self.limit, self.asked_at + round((1 - STOP_SHARE) * self.limit))
            return "over" if used > bound else ""
        if used >= STOP_SHARE * self.limit:
            self.warned, self.asked_at = True, used
            return "stop"
        if used >= WARN_SHARE * self.limit and not self.warned:
            self.warned = True
            return "warn"
        return ""

    @property
    def text(self) -> str:
        """The peak against the limit."""
        return f"peak {self.peak / GIB:.2f} of {self.limit / GIB:.2f} GiB"


@dataclass
class HangWatch:
    """How long nothing has moved, in seconds that this process itself was running.

    A process that was stopped, or a machine that slept, has not been waiting meanwhile.
    """

    least_s: float
    epochs: float
    most_gap_s: float  # of two looks; what is above it is time in which nobody looked
    waited_s: float = 0.0
    _looked_at: float | None = None
    _seen: tuple[int, ...] = ()
    _epoch_began: float | None = None
    _epoch_s: deque[float] = field(default_factory=lambda: deque(maxlen=101))

    def look(self, now: float, seen: tuple[int, ...]) -> bool:
        """Whether the run hangs; `seen` changes with whatever moves, its epoch being the first."""
        if self._looked_at is not None:
            self.waited_s += min(now - self._looked_at, self.most_gap_s)
        self._looked_at = now
        if seen != self._seen:
            self.waited_s = 0.0
            self._count(now, seen)
            self._seen = seen
        return self.waited_s >= self.limit_s

    def excuse(self, now: float) -> None:
        """Begin anew: the run was busy with something that is not watched."""
        self.waited_s, self._looked_at, self._epoch_began = 0.0, now, None

    @property
    def limit_s(self) -> float:
        """How long a run may stand still."""
        typical = statistics.median(self._epoch_s) if self._epoch_s else 0.0
        return max(self.least_s, self.epochs * typical)

    def _count(self, now: float, seen: tuple[int, ...]) -> None:
        if self._seen and seen[:1] == self._seen[:1]:
            return
        if self._seen and self._epoch_began is not None:
            done = max(1, seen[0] - self._seen[0])
            self._epoch_s.append((now - self._epoch_began) / done)
        self._epoch_began = now


class Watchdog:
    """Watches this process from `with` to its end.

    `warn` is told once when memory gets short. `last_words(cause, message)` runs before the process
    is ended, cause being "oom_host" or "hang"; it may take `last_words_s`, as it may hang as well.
    `stacks` is where the stacks go of a process in which Python itself has come to a halt.
    """

    def __init__(
        self,
        limits: Limits,
        warn: Callable[[str], None],
        last_words: Callable[[str, str], None],
        stacks: TextIO | None = None,
    ) -> None:
        self._limits = limits
        self._warn = warn
        self._last_words = last_words
        self._stacks = sys.stderr if stacks is None else stacks
        self._memory = MemoryWatch(limits.memory_bytes)
        self._hang = HangWatch(limits.hang_s, limits.hang_epochs, 4 * limits.sample_s)
        self._busy = HangWatch(limits.busy_s, 0.0, 4 * limits.sample_s)
        self._progress: Progress | None = None
        self._excused = 0
        self._turns = 0  # from what is watched to what is not, and back
        self._tree = ProcessTree(limits.children_s)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def stop_asked(self) -> bool:
        """Whether memory is so short that the run is to save and stop."""
        return self._memory.asked_at is not None

    @property
    def memory_peak_bytes(self) -> int:
        """The most that was seen resident, children included."""
        return self._memory.peak

    @property
    def memory_text(self) -> str:
        """The peak against the limit."""
        return self._memory.text

    def follow(self, progress: Progress) -> None:
        """Look for a hang from now on: `progress` gives the epoch and other counts that rise."""
        self._progress = progress
        self._turn()

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """For saving and for talking to others: it may take `busy_s` whatever an epoch takes."""
        self._excused += 1
        self._turn()
        try:
            yield
        finally:
            self._excused -= 1
            self._turn()

    def __enter__(self) -> Self:
        self._set_timer()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        while True:
            self._look(time.monotonic())
            if self._end.wait(self._limits.sample_s):
                return

    def _look(self, now: float) -> None:
        found = self._memory.look(self._tree.resident_bytes(now))
        if found in ("warn", "stop"):
            what = "saves and stops" if found == "stop" else "gets short"
            self._warn(f"memory {what}: {self._memory.text}")
        progress = None if self._excused else self._progress
        if progress is None:
            self._hang.excuse(now)
            if self._busy.look(now, (self._turns,)):
                took = f"took {self._busy.waited_s:.0f} s"
                what = "a save or a report" if self._progress else "starting"
                self._end_process("hang", f"{what} {took}")
            return
        if found == "over":
            self._end_process("oom_host", f"{self._memory.text}, still growing within an epoch")
        elif self._hang.look(now, progress()):
            message = f"nothing moved for {self._hang.waited_s:.0f} s"
            self._end_process("hang", message)
        else:
            self._set_timer()

    def _turn(self) -> None:
        self._turns += 1
        self._set_timer()

    def _set_timer(self) -> None:
        # A call into C that keeps the interpreter to itself stops the watchdog as well; this timer,
        # set anew at every look, runs on. Nothing is lost by ending a process that was only stopped
        # for so long: it goes on from its checkpoint.
        unwatched = self._excused or self._progress is None
        patience_s = GIL_PATIENCE * (self._busy if unwatched else self._hang).limit_s
        faulthandler.dump_traceback_later(patience_s, exit=True, file=self._stacks)

    def _end_process(self, cause: str, message: str) -> None:
        words = threading.Thread(target=self._last_words, args=(cause, message), daemon=True)
        words.start()
        words.join(self._limits.last_words_s)
        os._exit(EXIT_CODE)


class ProcessTree:
    """This process and all that it started."""

    def __init__(self, children_s: float) -> None:
        self._own = psutil.Process()
        self._children: list[psutil.Process] = []
        self._children_s = children_s
        self._listed_at = float("-inf")

    def resident_bytes(self, now: float) -> int:
        """Resident memory now. Listing the children walks over all processes: now and then."""
        if now - self._listed_at >= self._children_s:
            self._listed_at = now
            self._children = self._own.children(recursive=True)
        total = self._own.memory_info().rss
        for child in self._children:
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
        return total
