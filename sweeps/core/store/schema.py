"""What the files of a sweep hold: columns, statuses, event names, exit codes. Needs only pyarrow.

Strings are plain everywhere: Arrow dictionary types cannot be unified across files.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
VERSION_KEY = b"flowpwm.schema_version"

#: Evaluations averaged into a score.
SCORE_WINDOW = 5

STATUSES = (
    "PENDING",  # planned, not yet given to Ray
    "QUEUED",  # waits for resources
    "RUNNING",
    "COMPLETED",  # reached its budget
    "STOPPED",  # ended early by the scheduler
    "CANCELLED",  # ended by the user or never needed
    "FAILED",
    "EVALUATED",  # completed, and its checkpoint was evaluated again
    "INTERRUPTED",  # saved and resumable
)
#: Statuses of a run that reached its budget: only these are results.
DONE_STATUSES = ("COMPLETED", "EVALUATED")
#: Statuses after which a trial is never started again.
FINAL_STATUSES = frozenset({*DONE_STATUSES, "STOPPED", "CANCELLED", "FAILED"})

FAILURE_CLASSES = (
    "oom_host",
    "oom_gpu",
    "hang",
    "error",
    "diverged",
    "storage",
    "data",
    "killed",
)

EVENTS = (
    "sweep_started",
    "stage_started",
    "planned",
    "queued",
    "started",
    "progress",
    "rung",
    "completed",
    "stopped",
    "failed",
    "interrupted",
    "requeued",
    "cancelled",
    "evaluated",
    "selected",
    "stage_finished",
    "resumed",
    "extended",
    "warm_started",
    "sweep_finished",
    "note",
)
#: Events that may be lost in a power cut; all others are synced to disk before `append` returns.
UNSYNCED_EVENTS = frozenset({"progress"})


class ExitCode(enum.IntEnum):
    """What a sweep process returns to its shell."""

    OK = 0
    ERROR = 1
    USAGE = 2
    FAILED_TRIALS = 3
    OWNED = 4
    STORAGE = 6
    CAPPED = 7
    INTERRUPTED = 75


PARAM_PREFIX = "p_"

TRIALS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("config_id", pa.string()),
        ("arm", pa.string()),
        ("stage", pa.string()),
        ("task", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("failure_class", pa.string()),
        ("failure_message", pa.string()),
        ("log_path", pa.string()),
        ("attempt", pa.int32()),
        ("epochs", pa.int32()),
        ("epochs_done", pa.int32()),
        ("env_steps", pa.int64()),
        ("score", pa.float64()),
        ("peak", pa.float64()),
        ("started_at", pa.string()),
        ("ended_at", pa.string()),
        ("wall_time_s", pa.float64()),
        ("host_memory_peak_bytes", pa.int64()),
        ("device_memory_peak_bytes", pa.int64()),
        ("num_cpus", pa.float64()),
        ("num_gpus", pa.float64()),
        ("node", pa.string()),
        ("memory_request_bytes", pa.int64()),
        ("parameters", pa.int64()),
        ("nfe", pa.int32()),
        ("config_json", pa.string()),
        ("taken_from", pa.string()),  # the earlier run whose result it is; null: its own
        ("together", pa.int32()),  # seeds in its process, which share its time and memory
    ]
)

REPORTS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("attempt", pa.int32()),
        ("epoch", pa.int32()),
        ("env_steps", pa.int64()),
    ]
)

EVALS = pa.schema(
    [
        ("trial_id", pa.string()),
        ("attempt", pa.int32()),
        ("epoch", pa.int32()),
        ("env_steps", pa.int64()),
        ("wall_time_s", pa.float64()),
        ("task", pa.string()),
        ("protocol", pa.string()),
        ("n", pa.int32()),
        ("return_mean", pa.float64()),
        ("return_median", pa.float64()),
        ("return_iqm", pa.float64()),
        ("return_std", pa.float64()),
        ("length_mean", pa.float64()),
        ("success", pa.float64()),
        ("returns", pa.list_(pa.float64())),
    ]
)

KINDS = {"trials": TRIALS, "reports": REPORTS, "evals": EVALS}


def metric_type(name: str) -> pa.DataType:
    """The column type of a report metric: seconds float64, bytes int64, all else float32."""
    if name.endswith("_s") or name.startswith("time/"):
        return pa.float64()
    if name.endswith("_bytes"):
        return pa.int64()
    return pa.float32()


def param_type(values: Iterable[Any]) -> pa.DataType:
    """The narrowest column type that holds all of a parameter's values; string if they mix.

    `None` (the arm does not have the parameter) fits every type.
    """
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return pa.bool_()
    if types == {int}:
        return pa.int64()
    if types and types <= {int, float}:
        return pa.float64()
    return pa.string()


def param_cell(value: Any, kind: pa.DataType) -> Any:
    """`value` as a cell of a parameter column; in a string column, what is no string is JSON."""
    if value is None or not pa.types.is_string(kind) or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def with_version(schema: pa.Schema) -> pa.Schema:
    """The schema with this schema version in its metadata."""
    return schema.with_metadata({VERSION_KEY: str(SCHEMA_VERSION).encode()})
