"""What a user allows a sweep to spend: time, GPU-hours, disk. Reached, it saves and stops."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.core.check.findings import Finding
from sweeps.core.definition.quantity import duration, hours_text
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

    def flags(self, reached: str) -> list[str]:
        """The words that ask for the same again, but for what is `reached`: that must grow.

        A limit of time is each driver's own, and stays.
        """
        words: list[str] = []
        if self.time_limit_s is not None:
            words.append(f"--time-limit {self.time_limit_s:.0f}s")
        if self.max_gpu_hours is not None and not reached.startswith("--max-gpu-hours"):
            words.append(f"--max-gpu-hours {self.max_gpu_hours:g}")
        if self.max_disk_bytes is not None and not reached.startswith("--max-disk"):
            words.append(f"--max-disk {self.max_disk_bytes / 1e9:g}GB")
        return words

    def findings(
        self, forecast: Forecast, spent_gpu_hours: float = 0.0, used_bytes: int = 0
    ) -> Iterator[Finding]:
        """Which of them the sweep will probably reach before it is done.

        `forecast` is of what is left; what earlier drivers of the sweep spent counts too.
        """
        wall, limit = forecast.wall_s, self.time_limit_s
        if limit is not None and forecast.slots and wall.est > limit - STOP_S:
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
        if most is not None and forecast.device != "GPU":
            yield Finding("GPU-hours", "--max-gpu-hours caps nothing: no trial asks for a GPU")
        elif most is not None and spent_gpu_hours + hours > most:
            spent = f" and {hours_text(spent_gpu_hours)} are spent" if spent_gpu_hours else ""
            yield Finding(
                "GPU-hours",
                f"about {hours_text(hours)} are needed{spent}, --max-gpu-hours is {most:g}: it "
                "will save and stop; --resume goes on",
            )
        needed = used_bytes + forecast.disk_bytes
        if self.max_disk_bytes is not None and needed > self.max_disk_bytes:
            used = f", {size_text(used_bytes)} of it used" if used_bytes else ""
            yield Finding(
                "disk",
                f"up to {size_text(needed)} are needed{used}, --max-disk is "
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
    return sum(trial.gpu_s for trial in trials) / 3600


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
