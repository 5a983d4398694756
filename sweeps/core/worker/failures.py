"""Why an attempt failed, from the exception that ended it."""

from __future__ import annotations

import traceback

import torch

from flowpwm.checkpoint import CheckpointError
from flowpwm.checks import ConfigError
from flowpwm.datasets.errors import DatasetError
from flowpwm.updates import Diverged
from sweeps.core.host.secrets import struck_out
from sweeps.core.store.durable import STORAGE_ERRORS


def last_line(error: BaseException) -> str:
    """What the last line of the traceback says."""
    return struck_out("".join(traceback.format_exception_only(error)).strip().splitlines()[-1])


def failure_class(error: BaseException) -> str:
    """One of `schema.FAILURE_CLASSES`."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, (CheckpointError, DatasetError, ConfigError)):
        return "data"  # a configuration was checked before: its files are gone or changed
    if isinstance(error, torch.OutOfMemoryError):
        return "oom_gpu"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "oom_host"
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return "storage"
    return "error"
