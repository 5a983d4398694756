"""What trials of earlier sweeps took on hardware like this: recorded times and memory peaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from flowpwm.checks import ConfigError
from flowpwm.compose import from_dict
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from sweeps.core.forecast.rates import Measured, warmup_share
from sweeps.core.protocol.requests import Peak
from sweeps.core.store.compact import read_tables
from sweeps.core.store.schema import DONE_STATUSES

ENVIRONMENT = "environment.json"
#: What makes two machines alike, as `machine.environment` writes it.
_ALIKE = ("cpus", "gpu_memory_bytes", "processor")
_LEARNING = ("time/world_model_s", "time/actor_s", "time/critic_s")
_CLOCKS = ("time/environment_s", *_LEARNING)
#: A trial that got no further says more about its start than about its epochs.
_FEWEST_EPOCHS = 10
MOST_RUNS, MOST_TRIALS = 20, 200


def recorded(results: Path, here: Mapping[str, Any]) -> list[Measured]:
    """Trials in the newest run folders below `results` that ran on a machine like `here`.

    A folder that cannot be read says nothing; it is no reason to stop.
    """
    found: list[Measured] = []
    folders = sorted(results.glob(f"*/*/{ENVIRONMENT}"), key=_written, reverse=True)
    for path in folders[:MOST_RUNS]:
        if path.parent.is_symlink() or not _alike(path, here):
            continue
        try:
            found += islice(_measured(path.parent), MOST_TRIALS - len(found))
        except (OSError, RuntimeError, ValueError):
            continue
        if len(found) >= MOST_TRIALS:
            break
    return found


def peaks(results: Path) -> list[Peak]:
    """What trials in the newest run folders below `results` held, on whatever machine.

    Memory depends on the configuration, hardly on the processor.
    """
    found: list[Peak] = []
    folders = sorted(results.glob(f"*/*/{ENVIRONMENT}"), key=_written, reverse=True)
    for path in folders[:MOST_RUNS]:
        if path.parent.is_symlink():
            continue
        try:
            found += islice(_peaks(path.parent), MOST_TRIALS - len(found))
        except (OSError, RuntimeError, ValueError):
            continue
        if len(found) >= MOST_TRIALS:
            break
    return found


def _peaks(folder: Path) -> Iterator[Peak]:
    for trial in read_tables(folder, kinds=("trials",)).trials.to_pylist():
        if not trial["host_memory_peak_bytes"]:
            continue
        config = _config(trial)
        if config is None:
            continue
        yield Peak(
            config,
            estimate(config),
            host_bytes=trial["host_memory_peak_bytes"],
            device_bytes=trial["device_memory_peak_bytes"] or 0,
            whole=trial["status"] in DONE_STATUSES,
        )


def _config(trial: Mapping[str, Any]) -> RunConfig | None:
    """The configuration of a trial, as far as this version still knows it."""
    try:
        return from_dict(json.loads(trial["config_json"]))
    except (ConfigError, ValueError, TypeError):
        return None


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _alike(path: Path, here: Mapping[str, Any]) -> bool:
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(there.get(key) == here.get(key) for key in _ALIKE)


def _measured(folder: Path) -> Iterator[Measured]:
    tables = read_tables(folder, kinds=("trials", "reports"), columns=_CLOCKS)
    ids = np.array(tables.reports["trial_id"].to_pylist(), dtype=object)
    epochs = tables.reports["epoch"].to_numpy()
    clocks = {name: tables.reports[name].to_numpy() for name in _CLOCKS}
    for trial in tables.trials.select(["trial_id", "config_json", "together"]).to_pylist():
        rows = np.flatnonzero(ids == trial["trial_id"])
        if not len(rows):
            continue
        last = rows[epochs[rows].argmax()]
        if epochs[last] < _FEWEST_EPOCHS:
            continue
        config = _config(trial)
        if config is None:
            continue
        cost, done = estimate(config), int(epochs[last])
        learning = sum(float(clocks[name][last]) for name in _LEARNING)
        yield Measured(
            config,
            cost,
            environment_s=float(clocks["time/environment_s"][last]) / done,
            learning_s=learning / (done + warmup_share(config, cost)),
            together=trial["together"] or 1,
        )
