"""A sweep's standing as gauges of Ray's own metrics exporter, for whoever runs Prometheus.

They come from a thread of the driver that waits for nobody. One that fails is told of once, and the
sweep goes on.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from ray.util.metrics import Gauge

from sweeps.core.forecast.caps import gpu_hours
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.schema import STATUSES
from sweeps.core.store.state import TrialRecord

PERIOD_S = 5.0
#: Events that a worker reported something with.
_REPORTS = ("started", "progress", "completed", "failed", "interrupted")


class Sample(NamedTuple):
    """A value of the gauge `name`, with the tags that it has beside the sweep's own."""

    name: str
    value: float
    tags: Mapping[str, str] = {}


#: Every gauge, with its unit in the name where it has one; Ray puts `ray_` before it.
GAUGES = {
    "flowpwm_trials": "trials by status",
    "flowpwm_best_score": "best score so far of any trial, a mean return (biased: a maximum)",
    "flowpwm_reports_per_second": "reports that the driver took from its workers",
    "flowpwm_driver_resident_bytes": "resident memory of the driver",
    "flowpwm_remaining_seconds": "forecast of the wall time that is left",
    "flowpwm_gpu_hours": "GPU-hours spent, over all attempts",
    "flowpwm_disk_free_bytes": "free space where the results lie",
}


class Gauges:
    """Sets the gauges every few seconds, as a context while Ray is connected."""

    def __init__(
        self,
        sweep: str,
        folder: Path,
        recorder: Recorder,
        remaining: Remaining,
        say: Callable[[str], None],
        period_s: float = PERIOD_S,
    ) -> None:
        self._tags = {"sweep": sweep, "run": folder.name}
        self._folder, self._recorder, self._remaining = folder, recorder, remaining
        self._say, self._period_s = say, period_s
        self._driver = psutil.Process()
        self._reports = 0
        self._counted = 0, time.monotonic()
        self._gauges: dict[str, Gauge] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def __enter__(self) -> Self:
        self._recorder.listeners.append(self._count)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join(self._period_s)

    def _count(self, event: str, trial: TrialRecord, payload: Mapping[str, Any]) -> None:
        self._reports += event in _REPORTS

    def _run(self) -> None:
        try:
            while not self._end.wait(self._period_s):
                for sample in self.samples():
                    self._gauge(sample.name).set(sample.value, self._tags | dict(sample.tags))
        except Exception as error:  # noqa: BLE001 - monitoring must never end a sweep
            self._say(f"WARN no more metrics for Prometheus: {type(error).__name__}: {error}")

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            keys = (*self._tags, "status") if name == "flowpwm_trials" else tuple(self._tags)
            self._gauges[name] = Gauge(name, GAUGES[name], keys)
        return self._gauges[name]

    def samples(self) -> Iterator[Sample]:
        """What the gauges show now."""
        trials = self._recorder.trials()
        counts = Counter(trial.status for trial in trials)
        for status in STATUSES:  # a status that nobody has any more is 0, not what it was
            yield Sample("flowpwm_trials", counts[status], {"status": status.lower()})
        if scores := [trial.score for trial in trials if trial.score is not None]:
            yield Sample("flowpwm_best_score", max(scores))
        yield Sample("flowpwm_reports_per_second", self._rate())
        yield Sample("flowpwm_driver_resident_bytes", self._driver.memory_info().rss)
        if (left := self._remaining.seconds(trials)) is not None:
            yield Sample("flowpwm_remaining_seconds", left.est)
        yield Sample("flowpwm_gpu_hours", gpu_hours(trials))
        yield Sample("flowpwm_disk_free_bytes", shutil.disk_usage(self._folder).free)

    def _rate(self) -> float:
        (before, since), self._counted = self._counted, (self._reports, time.monotonic())
        return (self._counted[0] - before) / max(self._counted[1] - since, 1e-9)
