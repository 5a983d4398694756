"""Means of what training logs between two reports."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor


class Averages:
    """Sums of detached scalars since the last report; nothing here keeps a graph alive."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.env_steps = self.updates = 0
        self._started = time.perf_counter()

    def add(self, name: str, value: Tensor | float, count: int = 1) -> None:
        """Count `value`, the mean of `count` numbers, into the mean of `name`."""
        value = torch.as_tensor(value).detach() * count
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + count

    def take(self) -> dict[str, float]:
        """The means and the rates since the last call, and a fresh start."""
        now = time.perf_counter()
        elapsed = max(now - self._started, 1e-9)
        means = {name: float(value) / self.counts[name] for name, value in self.sums.items()}
        rates = {
            "rate/env_steps_per_s": self.env_steps / elapsed,
            "rate/updates_per_s": self.updates / elapsed,
        }
        self.sums, self.counts = {}, {}
        self._started, self.env_steps, self.updates = now, 0, 0
        return means | rates

    def state_dict(self) -> dict[str, Any]:
        """What a run that is saved between two reports needs for its next one."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; rates count from now."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
