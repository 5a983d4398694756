"""What stays of a trial's checkpoints: all of it while it may go on, its networks afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowpwm import checkpoint
from sweeps.core.store.state import TrialRecord

KEPT = ("best", "last")


class Retention:
    """A listener of the recorder: frees the disk when the end of a trial is on record.

    Not before: a worker that dropped its buffer and a driver that died before it heard of the end
    would leave a trial that can neither go on nor be taken for done. A trial that failed keeps
    everything: whoever finds out why may want to look.
    """

    def __init__(self, folder: Path) -> None:
        self._checkpoints = folder / "checkpoints"

    def __call__(self, event: str, trial: TrialRecord, payload: Mapping[str, Any]) -> None:
        """Take notice of an event."""
        if event in ("completed", "stopped"):
            keep_networks(self._checkpoints / trial.trial_id)


def keep_networks(folder: Path) -> int:
    """Keep the networks of the best and the last checkpoint; returns the bytes that this freed.

    A checkpoint that is missing or cannot be read is left as it is.
    """
    freed = 0
    for name in KEPT:
        with suppress(checkpoint.CheckpointError, OSError):
            freed += checkpoint.slim(folder / name)
    return freed
