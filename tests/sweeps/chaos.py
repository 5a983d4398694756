"""Hurting a sweep that runs, its workers and checkpoints; and what is left to count."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import psutil

from flowpwm.storage import previous
from sweeps.core.store.events import read_events
from sweeps.core.store.series import read_series
from tests.sweeps.tiny import state_of


def running_workers(folder: Path, least: int = 1, most: int = 10**9) -> dict[str, int]:
    """Trials that run and were heard of at an epoch in this range, and their processes."""
    found = {}
    for trial in state_of(folder).trials.values():
        if trial.status == "RUNNING" and least <= trial.epochs_done < most and trial.log_path:
            log = folder / trial.log_path
            pids = re.findall(r"process (\d+)", log.read_text()) if log.exists() else []
            if pids and psutil.pid_exists(int(pids[-1])):
                found[trial.trial_id] = int(pids[-1])
    return found


def cut_checkpoint(folder: Path, trial_id: str, share: float = 0.5) -> bool:
    """Cut the newest checkpoint of a trial; whether there was one, and one before it.

    Without any that is whole a trial fails, and is not begun again unasked.
    """
    last = folder / "checkpoints" / trial_id / "last"
    if not previous(last).is_dir():
        return False
    path = last / "training.pt"
    try:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])
    except OSError:  # it is just being replaced
        return False
    return True


class Rows:
    """The reports of a sweep: as they were written, attempt by attempt, and once each."""

    def __init__(self, folder: Path) -> None:
        table = read_series(folder, "reports")
        keys = zip(table["trial_id"].to_pylist(), table["epoch"].to_pylist(), strict=True)
        self.counts = Counter(keys)

    @property
    def written(self) -> int:
        """Rows on disk, repeated ones among them."""
        return self.counts.total()

    @property
    def found(self) -> int:
        """Rows that differ."""
        return len(self.counts)

    @property
    def repeated(self) -> int:
        """Rows that were worked out again after a fault."""
        return self.written - self.found


def attempts(folder: Path) -> int:
    """How often a trial was begun."""
    return sum(event["event"] == "started" for event in read_events(folder))
