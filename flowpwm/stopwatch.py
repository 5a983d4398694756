"""How long a piece of work takes: on the wall, and on the device that it is given to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class Spent:
    """Seconds of a piece of work, known when it is done."""

    wall_s: float = 0.0
    device_s: float = 0.0  # 0 on a CPU


@contextmanager
def stopwatch(device: str) -> Iterator[Spent]:
    """Measure what happens in the context.

    On a GPU it ends when the device has done what it was given: without that, the work of one phase
    would be paid for in the next.
    """
    spent, began = Spent(), time.perf_counter()
    if device != "cuda":
        yield spent
    else:
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        yield spent
        last.record()
        last.synchronize()
        spent.device_s = first.elapsed_time(last) / 1000
    spent.wall_s = time.perf_counter() - began
