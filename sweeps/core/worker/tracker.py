"""Weights & Biases, where asked for: one run a trial, written from a thread that training never
waits for. A tracker that fails costs its own rows only.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, Self

from flowpwm.config import RunConfig, to_dict
from flowpwm.report import Report
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.triallog import TrialLog

WAITING_ROWS = 10_000
LONGEST_GOODBYE_S = 2.0  # what is unsent by then stays in the offline files, or is lost


class Tracker(Protocol):
    """Takes reports; used as a context. `place` says where they go, as keys of a result."""

    @property
    def place(self) -> Mapping[str, str]:
        """`wandb_group` and, once the run has one, `wandb_link`."""
        ...

    def log(self, report: Report) -> None:
        """Pass a report on."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


class NoTracker:
    """Where nothing is asked for."""

    place: Mapping[str, str] = MappingProxyType({})

    def log(self, report: Report) -> None:
        """Drop the report."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return


class WandbTracker:
    """A wandb run fed through a bounded queue; rows that do not fit are dropped and counted."""

    def __init__(self, job: Job, config: RunConfig, log: TrialLog) -> None:
        self._job, self._config, self._log = job, config, log
        self.place = {"wandb_group": f"{job.sweep}-{job.folder_path.name}"}
        self._rows: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING_ROWS)
        self._dropped = 0
        self._thread = threading.Thread(target=self._feed, name="wandb", daemon=True)

    def log(self, report: Report) -> None:
        """Pass a report on; returns at once."""
        row = dict(report.metrics) | {"epoch": report.epoch, "env_steps": report.env_steps}
        if report.evaluations:
            row |= {"eval/return": report.return_mean, "eval/score": report.score or 0.0}
        if len(report.evaluations) > 1:
            row |= {f"eval/{each.task}/return": each.mean for each in report.evaluations}
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self._dropped += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._rows.put_nowait(None)
        except queue.Full:
            self._dropped += 1
        self._thread.join(LONGEST_GOODBYE_S)
        if self._thread.is_alive() or self._dropped:
            self._log.warning("wandb is behind: rows dropped %d", self._dropped)

    def _feed(self) -> None:
        job = self._job
        try:
            import wandb

            group = self.place["wandb_group"]
            run = wandb.init(
                project="flowpwm",
                group=group,
                id=f"{group}-{job.trial_id}",
                resume="allow",
                job_type=f"{job.stage}-{job.arm}",
                name=job.trial_id,
                config=to_dict(self._config),
                mode="offline" if job.wandb == "offline" else "online",
                dir=str(job.folder_path),
                settings=wandb.Settings(silent=True, console="off", save_code=False),
            )
            if run.url:  # offline runs have none
                self.place = self.place | {"wandb_link": run.url}
            while (row := self._rows.get()) is not None:
                run.log(dict(row), step=row["epoch"])
            run.finish()
        except Exception as error:  # noqa: BLE001 - a tracker must never end training
            self._log.warning("wandb gave up: %s: %s", type(error).__name__, error)


def open_tracker(job: Job, config: RunConfig, log: TrialLog) -> Tracker:
    """The tracker that the job asks for."""
    return NoTracker() if job.wandb == "off" else WandbTracker(job, config, log)
