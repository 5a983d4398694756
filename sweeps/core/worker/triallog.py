"""The log of one attempt: what a reader needs when a trial failed, in a file of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import re
import socket
import traceback
from pathlib import Path
from typing import Self

from sweeps.core.host.secrets import struck_out

#: What the interpreter writes when it ends a process in which nothing moved any more.
_TIMEOUT = re.compile(r"^Timeout \(\d+:\d\d:\d\d(\.\d+)?\)!$", re.MULTILINE)
_STACKS_BYTES = 2**18  # of a process that ended so; they are at the end of its log


def timed_out(path: Path) -> bool:
    """Whether the process of this log was ended by the timer that needs no Python."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _STACKS_BYTES))
            return _TIMEOUT.search(file.read().decode("utf-8", "replace")) is not None
    except OSError:
        return False


class TrialLog:
    """`logs/<trial>-<attempt>.log`: milestones, warnings of libraries, tracebacks, crashes in C."""

    def __init__(self, folder: Path, trial_id: str, attempt: int) -> None:
        path = folder / "logs" / f"{trial_id}-{attempt:03d}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.relative_path = str(path.relative_to(folder))
        self.stream = path.open("a", encoding="utf-8")
        self._handler = logging.StreamHandler(self.stream)
        self._handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._logger = logging.getLogger(f"flowpwm.trial.{trial_id}.{attempt}")
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self._handler)
        self.info("%s attempt %d, process %d on %s", trial_id, attempt, os.getpid(), _host())

    def info(self, message: str, *values: object) -> None:
        """A milestone."""
        self._logger.info(message, *values)

    def warning(self, message: str, *values: object) -> None:
        """Something that did not end the trial."""
        self._logger.warning(message, *values)

    def stacks(self) -> None:
        """What every thread of this process is doing."""
        faulthandler.dump_traceback(self.stream, all_threads=True)

    def failure(self, error: BaseException) -> None:
        """The whole traceback; its last line is what the sweep's table shows."""
        self._logger.error("failed\n%s", "".join(traceback.format_exception(error)).rstrip())

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)
        logging.captureWarnings(True)
        faulthandler.enable(self.stream)
        return self

    def __exit__(self, *exc: object) -> None:
        # A worker may run more trials after this one: nothing of this one may stay behind.
        faulthandler.disable()
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self._handler)
        self._logger.removeHandler(self._handler)
        # What a full disk did not take of the log is no reason to lose the result of the trial.
        with contextlib.suppress(OSError):
            self.stream.close()


class _Formatter(logging.Formatter):
    """Leaves out what no log may hold."""

    def format(self, record: logging.LogRecord) -> str:
        return struck_out(super().format(record))


def _host() -> str:
    return socket.gethostname()
