"""The trackers that there are, and those of one trial together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Self

from flowpwm.config import RunConfig
from flowpwm.report import Report
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.tracking.background import Background
from sweeps.core.worker.tracking.tensorboard_tracker import TensorboardTracker
from sweeps.core.worker.tracking.tracker import Tracked, Tracker, row_of
from sweeps.core.worker.tracking.wandb_tracker import WandbTracker
from sweeps.core.worker.triallog import TrialLog

#: By the name that `Sweep.trackers` asks for it.
TRACKERS: Mapping[str, Callable[[Tracked], Tracker]] = {
    "wandb": WandbTracker,
    "tensorboard": TensorboardTracker,
}
#: All that a trial waits for its trackers, at its end. What they still hold by then they write
#: when the trial is gone, or lose.
LONGEST_GOODBYE_S = 1.0


class Trackers:
    """Those that a job asks for, as a context around its training."""

    def __init__(self, job: Job, config: RunConfig, log: TrialLog, start: int = 0) -> None:
        self._log = log
        self._over = False
        self._progress = job.progress
        tracked = Tracked(job, config, start, self._warn)
        self._all = [Background(name, TRACKERS[name](tracked), self._warn) for name in job.trackers]

    @property
    def place(self) -> dict[str, str]:
        """Where the trial can be seen, as keys of a result."""
        found: dict[str, str] = {}
        for each in self._all:
            found |= each.tracker.place
        return found

    def log(self, report: Report) -> None:
        """Pass a report on; returns at once."""
        if self._all:
            row = row_of(report, self._progress)
            for each in self._all:
                each.write(row)

    def __enter__(self) -> Self:
        for each in self._all:
            each.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for each in self._all:
            each.write(None)
        deadline = time.monotonic() + LONGEST_GOODBYE_S
        for each in self._all:
            each.join(deadline)
        self._over = True

    def _warn(self, message: str) -> None:
        if not self._over:  # the log is closed when the trial is over
            self._log.warning("%s", message)
