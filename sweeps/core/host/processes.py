"""Ending processes that we started, by their own ids."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterable

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can still be found."""
    # Where the system cannot do that, they are left to whoever watches over this process.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_processes(processes: list[psutil.Process], patience_s: float = 3.0) -> None:
    """Wait for processes that we started to end, then end those that do not."""
    alive = alive_after(processes, patience_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    alive_after(alive, 1.0)


def alive_after(processes: Iterable[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run when all have ended or `patience_s` seconds are over.

    psutil.wait_procs raises FileNotFoundError where the id of one that ended has become the id of
    some thread meanwhile.
    """
    deadline = time.monotonic() + patience_s
    left = [process for process in processes if _runs(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [process for process in left if _runs(process)]
    return left


def _runs(process: psutil.Process) -> bool:
    if not process.is_running():  # compares the time of the start, too
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # a child of ours that ended is one until it is asked
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
