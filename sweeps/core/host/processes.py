"""Ending processes that we started, by their own ids."""

from __future__ import annotations

import contextlib
import ctypes
import time

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can still be found."""
    # Where the system cannot do that, they are left to whoever watches over this process.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_processes(processes: list[psutil.Process], patience_s: float = 3.0) -> None:
    """Wait for processes that we started to end, then end those that do not."""
    deadline = time.monotonic() + patience_s
    _, alive = psutil.wait_procs(processes, timeout=max(0.0, deadline - time.monotonic()))
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=1.0)
