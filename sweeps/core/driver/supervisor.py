"""`--supervise`: the driver in a process below this one, which starts it again where it is killed.

    python -m sweeps.core.driver.supervisor SWEEP SCRIPT [words of the script]

Holds nothing that a kill could lose, and imports neither Ray nor torch: it is the last process that
a system short of memory looks at.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from sweeps.core.definition import quantity
from sweeps.core.definition.again import (
    BEGUN,
    SUPERVISE,
    SUPERVISED,
    going_on,
    results_of,
    value_of,
)
from sweeps.core.driver.interrupt import SIGNALS
from sweeps.core.store.owner import driver_of
from sweeps.core.store.schema import ExitCode

TIME_LIMIT = "--time-limit"
#: Killed so often without a row in between, the cause is not going to pass.
MOST_IN_VAIN = 3
#: The workers of a driver that was killed take this long to find out.
PAUSE_S = 5.0


def replace_this_process(sweep: str, words: Sequence[str]) -> NoReturn:
    """Become the supervisor of the script that runs in this process."""
    own = [word for word in words if word != SUPERVISE]
    command = [sys.executable, "-m", __name__, sweep, sys.argv[0], *own]
    os.execv(command[0], command)


class Supervisor:
    """Runs a script until it ends by itself; signals are for the script."""

    def __init__(
        self, sweep: str, script: str, words: Sequence[str], pause_s: float = PAUSE_S
    ) -> None:
        self._sweep = sweep
        self._script = script
        self._words = list(words)
        self._pause_s = pause_s
        self._began = time.monotonic()
        self._driver: subprocess.Popen[bytes] | None = None
        self._signalled: str | None = None

    def run(self) -> int:
        """The exit code of the last driver."""
        for number in SIGNALS:
            signal.signal(number, self._pass_on)
        os.environ[SUPERVISED] = "1"
        in_vain, rows = 0, 0
        words = self._words
        while True:
            with subprocess.Popen([sys.executable, self._script, *words]) as self._driver:
                code = self._driver.wait()
            if code >= 0 or self._signalled is not None:
                return code if code >= 0 else ExitCode.INTERRUPTED
            folder = self._folder(self._driver.pid)
            before, rows = rows, _rows_bytes(folder)
            in_vain = 0 if rows > before else in_vain + 1
            cause = f"the driver was killed by {signal.Signals(-code).name}"
            if in_vain >= MOST_IN_VAIN:
                self._say(f"{cause}, {in_vain} times without a new row in between: given up")
                self._say(f"what was reached is saved in {folder or 'no run folder'}")
                return ExitCode.ERROR
            self._say(f"{cause}; started again, with all that is saved")
            time.sleep(self._pause_s)
            if self._signalled is not None:
                return ExitCode.INTERRUPTED
            words = self._words if folder is None else going_on(self._words, folder)
            words = [*words, *self._time_left()]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._signalled = signal.Signals(number).name
        if self._driver is not None:
            with suppress(ProcessLookupError):
                self._driver.send_signal(number)

    def _folder(self, pid: int) -> Path | None:
        """The run folder that the driver had; None where it had none yet."""
        for flag in BEGUN:
            if path := value_of(self._words, flag):
                return Path(path)
        runs = sorted((results_of(self._words) / self._sweep).glob("[0-9]*"), reverse=True)
        for run in runs:  # the newest first: numbers of processes come again
            owner = driver_of(run)
            if owner is not None and owner.pid == pid:
                return run
        return None

    def _time_left(self) -> list[str]:
        """What is left of `--time-limit`: it is for all drivers together."""
        limit = value_of(self._words, TIME_LIMIT)
        if not limit:
            return []
        left = quantity.seconds(TIME_LIMIT, limit) - (time.monotonic() - self._began)
        return [TIME_LIMIT, f"{max(1, int(left))}s"]

    def _say(self, text: str) -> None:
        print(f"supervisor: {text}", file=sys.stderr, flush=True)


def _rows_bytes(folder: Path | None) -> int:
    """How much the workers of a run have written."""
    if folder is None:
        return 0
    return sum(path.stat().st_size for path in (folder / "series").glob("*/*.arrows"))


if __name__ == "__main__":
    _sweep, _script, *_words = sys.argv[1:]
    sys.exit(Supervisor(_sweep, _script, _words).run())
