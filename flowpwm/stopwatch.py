"""How long pieces of work take, one phase after another, by the clock of whoever does them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Times phases without waiting for them.

    A GPU works through what it is given while the host goes on, so a clock of the host would have
    the work of one phase paid for in the next. Marks in the GPU's own queue tell when each phase
    began and ended there; they are read when somebody asks, by `take`.
    """

    def __init__(self, device: str):
        self._on_gpu = device == "cuda"
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._marks: list[tuple[str, Any, Any]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens in the context towards `name`."""
        if self._on_gpu:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            yield
            last.record()
            self._marks.append((name, first, last))
        else:
            began = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """Seconds of every phase; on a GPU, once it has done them, as `<phase>_device` as well."""
        for name, first, last in self._marks:
            last.synchronize()
            for of in (name, f"{name}_device"):
                self._seconds[of] += first.elapsed_time(last) / 1000
        self._marks = []
        return dict(self._seconds)
