"""What a user allows a sweep to spend: time, GPU-hours, disk. Reached, it saves and stops."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.core.check.findings import Finding
from sweeps.core.definition.quantity import duration
from sweeps.core.forecast.forecast import Forecast, size_text
from sweeps.core.store.state import TrialRecord

#: Saving and leaving takes up to this.
STOP_S = 20.0
#: In less than this no trial would reach anything that could be saved.
LEAST_S = 60.0
#: A folder of thousands of files takes a while to add up.
MEASURE_EVERY_S = 30.0


@dataclass
class Caps:
    """The caps of one driver; None where there is none. `began` is monotonic time."""

    time_limit_s: float | None = None
    max_gpu_hours: float | None = None
    max_disk_bytes: int | None = None
    began: float = field(default_factory=time.monotonic)
    _measured_at: float = float("-inf")
    _size: int = 0

    def reached(self, trials: Iterable[TrialRecord], folder: Path) -> str | None:
        """Which limit is reached, in words, or None."""
        if self.time_limit_s is not None:
            elapsed = time.monotonic() - self.began
            if elapsed >= max(0.0, self.time_limit_s - STOP_S):
                return f"--time-limit {duration(self.time_limit_s)}"
        if self.max_gpu_hours is not None:
            spent = gpu_hours(trials)
            if spent >= self.max_gpu_hours:
                return f"--max-gpu-hours {self.max_gpu_hours:g} ({spent:.2f} spent)"
        if self.max_disk_bytes is not None:
            size = self._folder_bytes(folder)
            if size >= self.max_disk_bytes:
                return f"--max-disk {size_text(self.max_disk_bytes)} ({size_text(size)} used)"
        return None

    def findings(self, forecast: Forecast) -> Iterator[Finding]:
        """Which of them the sweep will probably reach before it is done."""
        wall, limit = forecast.wall_s, self.time_limit_s
        if limit is not None and wall.est > limit - STOP_S:
            yield Finding(
                "time",
                f"about {duration(wall.est)} are needed, --time-limit is {duration(limit)}: "
                "it will save and stop; --resume goes on",
            )
        if limit is not None and forecast.longest_s > limit - STOP_S:
            yield Finding(
                "time",
                f"{forecast.longest} alone needs about {duration(forecast.longest_s)}, more than "
                f"--time-limit {duration(limit)}: it will save and resume",
            )
        hours, most = forecast.hours.est, self.max_gpu_hours
        if most is not None and forecast.device == "GPU" and hours > most:
            yield Finding(
                "GPU-hours",
                f"about {hours:.2g} are needed, --max-gpu-hours is {most:g}: it will save and "
                "stop; --resume goes on",
            )
        if self.max_disk_bytes is not None and forecast.disk_bytes > self.max_disk_bytes:
            yield Finding(
                "disk",
                f"up to {size_text(forecast.disk_bytes)} are needed, --max-disk is "
                f"{size_text(self.max_disk_bytes)}",
            )

    def _folder_bytes(self, folder: Path) -> int:
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_EVERY_S:
            self._measured_at = now
            self._size = folder_bytes(folder)
        return self._size


def gpu_hours(trials: Iterable[TrialRecord]) -> float:
    """GPU-hours that trials have spent, over all their attempts."""
    return (
        sum(
            (trial.wall_time_s or 0.0) * float(trial.resources.get("num_gpus") or 0.0)
            for trial in trials
        )
        / 3600
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below; one that goes away meanwhile counts as gone."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total
