"""Weights & Biases: one run a trial, which an attempt that goes on continues under the same id.

wandb runs in a process of its own (`wandb_process`): imports, servers that do not answer and hooks
at the exit of the interpreter are then none of the trial's business.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from flowpwm.config import flatten
from sweeps.core.worker.tracking.tracker import Row, Tracked

PROJECT = "flowpwm"
LONGEST_TAG = 64  # W&B refuses longer ones
_SCRIPT = Path(__file__).with_name("wandb_process.py")


class WandbTracker:
    """Hands rows to a process that writes the run and outlives the trial by seconds at most."""

    def __init__(self, trial: Tracked) -> None:
        self._trial = trial
        job = trial.job
        self.place: Mapping[str, str] = {"wandb_group": f"{job.sweep}-{job.folder_path.name}"}
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def open(self) -> None:
        """Start the process, which reads from now on whatever W&B's server does."""
        # -P: the script's folder is no place to import from. A session of its own: Ctrl-C is for
        # the sweep.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        if code := self._process.wait():  # it goes on in a process that is not ours
            raise RuntimeError(f"its process ended with {code}")
        self._send(self._arguments())
        assert self._process.stdout is not None
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="wandb-answers", daemon=True
        )
        self._listener.start()

    def write(self, row: Row) -> None:
        """A row of the run's history."""
        self._send([row.step, dict(row.values)])

    def close(self) -> None:
        """Tell the process that this was all, and wait for it."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._listener is not None:
            self._listener.join()

    def _send(self, line: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(line, default=float) + "\n")
        self._process.stdin.flush()

    def _listen(self, answers: IO[str]) -> None:
        for line in answers:
            answer = json.loads(line)
            if "link" in answer:
                self.place = {**self.place, "wandb_link": answer["link"]}
            if "warning" in answer:
                self._trial.warn(answer["warning"])

    def _arguments(self) -> dict[str, Any]:
        job, config = self._trial.job, self._trial.config
        tags = dict.fromkeys(filter(None, (job.sweep, job.stage, job.arm, config.task)))
        group = self.place["wandb_group"]
        return {
            "mode": job.trackers["wandb"],
            "worker": os.getpid(),
            "init": {
                "project": PROJECT,
                "group": group,
                "id": f"{group}-{job.trial_id}",
                "resume": "allow",
                "job_type": f"{job.stage}-{job.arm}",
                "name": job.trial_id,
                "tags": [tag[:LONGEST_TAG] for tag in tags],
                "config": flatten(config),
                "dir": job.folder,
            },
        }
