"""A job under stand-ins for `sbatch`, `srun` and `scontrol`: the real script, run here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.sweeps.tiny import ROOT, environment

STANDINS = ROOT / "tests" / "support" / "fake_slurm"
SCRIPT = ROOT / "sweeps" / "slurm" / "sweep.sbatch"
SMALL = STANDINS / "small_sweep.py"


class SlurmJob:
    """What `sbatch` started; on two nodes that are loopback addresses of this machine."""

    def __init__(self, folder: Path, number: int, *, real_ray: bool = False) -> None:
        self.state = folder / "slurm"
        self.cwd = folder / "project"
        self.state.mkdir(parents=True)
        self.cwd.mkdir()
        self.number = number
        self.output = self.state / "output.txt"
        path = os.pathsep.join([str(STANDINS / "bin"), os.environ["PATH"]])
        self.environment = environment(
            PATH=path,
            FAKE_SLURM=str(self.state),
            FAKE_JOB=str(number),
            FAKE_NODES="127.0.0.2,127.0.0.3",
            FLOWPWM_PYTHON=sys.executable,
            TMPDIR="/tmp",
        )
        if not real_ray:
            parts = [str(STANDINS), self.environment["PYTHONPATH"]]
            self.environment["PYTHONPATH"] = os.pathsep.join(parts)
        self.popen: subprocess.Popen[bytes] | None = None

    def plan(self, *launches: str) -> None:
        (self.state / "plan").write_text(" ".join(launches))

    def submit(self, *words: str, options: tuple[str, ...] = (), **extra: str) -> None:
        with self.output.open("a") as file:
            self.popen = subprocess.Popen(
                ["sbatch", *options, str(SCRIPT), *words],
                cwd=self.cwd,
                env=self.environment | extra,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def launches(self) -> list[dict[str, Any]]:
        return _lines(self.state / "launches.jsonl")

    @property
    def rays(self) -> list[dict[str, Any]]:
        return _lines(self.state / "ray.jsonl")

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 200) -> None:
        assert self.popen is not None
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.popen.poll() is None, f"ended with {self.popen.returncode}:\n{self.text}"
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)

    def signal_batch(self, number: signal.Signals) -> None:
        """As `--signal=B:USR1@300` does: the batch shell alone."""
        os.kill(int((self.state / "batch.pid").read_text()), number)

    def end(self, timeout_s: float = 90) -> int:
        assert self.popen is not None
        return self.popen.wait(timeout_s)

    def processes(self) -> list[psutil.Process]:
        """Everything that the job started and that still runs, wherever it belongs by now."""
        return [process for process, _ in self._commands()]

    def running(self, word: str) -> list[psutil.Process]:
        """Those of them that have this word in their command line."""
        return [process for process, words in self._commands() if word in words]

    def _commands(self) -> list[tuple[psutil.Process, list[str]]]:
        found = []
        for process in psutil.process_iter():
            # Any of them may end between two questions.
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                # SLURM_JOB_ID tells the job's processes from `sbatch`.
                mark = process.environ()
                if (mark.get("FAKE_SLURM"), "SLURM_JOB_ID" in mark) == (str(self.state), True):
                    words = process.cmdline()
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append((process, words))
        return found

    def traces(self) -> list[str]:
        """What a job must not leave behind: processes, temporary folders, tokens."""
        left = [f"{process.pid} {' '.join(words)}" for process, words in self._commands()]
        left += map(str, Path("/tmp").glob(f"fp{self.number}*"))
        left += map(str, self.cwd.rglob("token"))
        return left

    def kill(self) -> None:
        """Whatever is left of it, after a test that failed."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for folder in Path("/tmp").glob(f"fp{self.number}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
