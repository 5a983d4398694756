"""What a tracker is, and what it is told of a trial. A new one is a module here and a line in
`trackers.TRACKERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flowpwm.config import RunConfig
from flowpwm.report import Report
from sweeps.core.worker.jobs import Job


class Row(NamedTuple):
    """A report in plain numbers. `step` is environment steps, or epochs where none are taken."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Tracked:
    """One attempt of a trial. `start` is the step that it goes on from, 0 for a new trial."""

    job: Job
    config: RunConfig
    start: int
    warn: Callable[[str], None]


class Tracker(Protocol):
    """Made by the trial's own thread, so making it is cheap. All else is called by a thread that
    training never waits for, and may take its time or raise: then the tracker is given up.
    """

    @property
    def place(self) -> Mapping[str, str]:
        """Where the rows can be seen, as keys of a result; may become known later."""
        ...

    def open(self) -> None:
        """Get ready to write."""
        ...

    def write(self, row: Row) -> None:
        """Pass a row on."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...


def row_of(report: Report, progress: str) -> Row:
    """A report as a row; `progress` is the counter that steps are taken from."""
    values = dict(report.metrics) | {"epoch": report.epoch, "env_steps": report.env_steps}
    if report.evaluations:
        values["eval/return"] = report.return_mean
        if report.score is not None:
            values["eval/score"] = report.score
    if len(report.evaluations) > 1:
        values |= {f"eval/{each.task}/return": each.mean for each in report.evaluations}
    return Row(int(values[progress]), values)
