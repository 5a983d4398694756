"""Rows of the tables from what was logged: latest attempts, and one row a trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from sweeps.core.store.schema import PARAM_PREFIX, SCORE_WINDOW, TRIALS, param_cell, param_type
from sweeps.core.store.state import SweepState, TrialRecord


def latest_rows(table: pa.Table) -> pa.Table:
    """The rows of one trial by epoch and, if it has one, task; each is that of its highest attempt,
    of two the later one. Tasks stay in the order in which they were first written.

    From the first row of an attempt on, those before it have no say: one that was taken for dead,
    because its node was cut off, may have gone on for a while.
    """
    table = table.filter(pa.array(_not_replaced(table)))
    epochs, tasks = table["epoch"].to_numpy(), _task_numbers(table)
    attempts = table["attempt"].to_numpy()
    order = np.lexsort((np.arange(len(epochs)), attempts, tasks, epochs))
    keys = np.stack([epochs[order], tasks[order]])
    last = np.append((keys[:, 1:] != keys[:, :-1]).any(axis=0), True)[: len(order)]
    return table.take(pa.array(order[last]))


def _not_replaced(table: pa.Table) -> np.ndarray:
    """Which rows lie before the first row of every later attempt."""
    epochs, attempts = table["epoch"].to_numpy(), table["attempt"].to_numpy()
    kept = np.ones(len(epochs), dtype=bool)
    end = np.iinfo(np.int64).max
    for attempt in np.unique(attempts)[::-1]:
        own = attempts == attempt
        kept[own] = epochs[own] < end
        end = min(end, epochs[own].min())
    return kept


def _task_numbers(table: pa.Table) -> np.ndarray:
    if "task" not in table.column_names:
        return np.zeros(len(table), dtype=np.int64)
    names = table["task"].to_pylist()
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)


def score(returns: np.ndarray) -> float | None:
    """Mean of the last `SCORE_WINDOW` evaluations, or of all if there are fewer."""
    return float(returns[-SCORE_WINDOW:].mean()) if len(returns) else None


def peak(returns: np.ndarray) -> float | None:
    """Highest mean of `SCORE_WINDOW` evaluations in a row (biased upwards), past any NaN."""
    if not len(returns):
        return None
    window = min(SCORE_WINDOW, len(returns))
    means = np.lib.stride_tricks.sliding_window_view(returns, window).mean(axis=1)
    return float(np.fmax.reduce(means))


def trials_table(state: SweepState, evals: pa.Table) -> pa.Table:
    """One row a trial in the order of their ids, with its parameters as `p_` columns.

    `evals` holds the latest rows of the evaluations; scores come from them, and from the events
    only where a trial has none.
    """
    trials = [state.trials[trial_id] for trial_id in sorted(state.trials)]
    returns = _returns_by_trial(evals)
    names = sorted({name for trial in trials for name in trial.params})
    kinds = {name: param_type(trial.params.get(name) for trial in trials) for name in names}
    rows = [_row(trial, returns.get(trial.trial_id), kinds) for trial in trials]
    extra = [pa.field(PARAM_PREFIX + name, kinds[name]) for name in names]
    return pa.Table.from_pylist(rows, schema=pa.schema([*TRIALS, *extra]))


def _returns_by_trial(evals: pa.Table) -> dict[str, np.ndarray]:
    """Returns of each trial by epoch, the mean over its tasks; `evals` is sorted by both."""
    ids = np.asarray(evals["trial_id"].to_pylist(), dtype=object)
    if not len(ids):
        return {}
    epochs, means = evals["epoch"].to_numpy(), evals["return_mean"].to_numpy()
    new_trial = np.append(True, ids[1:] != ids[:-1])
    new_epoch = new_trial | np.append(True, epochs[1:] != epochs[:-1])
    starts = np.flatnonzero(new_epoch)
    over_tasks = np.add.reduceat(means, starts) / np.diff(np.append(starts, len(means)))
    trials = np.flatnonzero(new_trial[starts])
    return dict(zip(ids[starts[trials]], np.split(over_tasks, trials[1:]), strict=True))


def _row(
    trial: TrialRecord, returns: np.ndarray | None, kinds: Mapping[str, pa.DataType]
) -> dict[str, Any]:
    resources = trial.resources
    return {
        "trial_id": trial.trial_id,
        "config_id": trial.config_id,
        "arm": trial.arm,
        "stage": trial.stage,
        "task": trial.task,
        "seed": trial.seed,
        "status": trial.status,
        "failure_class": trial.failure_class,
        "failure_message": trial.failure_message,
        "log_path": trial.log_path,
        "attempt": trial.attempt,
        "epochs": trial.epochs,
        "epochs_done": trial.epochs_done,
        "env_steps": trial.env_steps,
        "score": trial.score if returns is None else score(returns),
        "peak": None if returns is None else peak(returns),
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "wall_time_s": trial.wall_time_s,
        "host_memory_peak_bytes": trial.host_memory_peak_bytes,
        "device_memory_peak_bytes": trial.device_memory_peak_bytes,
        "num_cpus": resources.get("num_cpus"),
        "num_gpus": trial.num_gpus,
        "node": trial.node,
        "memory_request_bytes": resources.get("memory_bytes"),
        "parameters": trial.parameters,
        "nfe": trial.nfe,
        "config_json": json.dumps(trial.config, sort_keys=True),
        "taken_from": trial.taken_from,
        "together": trial.together,
        **{
            PARAM_PREFIX + name: param_cell(trial.params.get(name), kind)
            for name, kind in kinds.items()
        },
    }
