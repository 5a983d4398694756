"""TensorBoard: the event files of a trial, below `tensorboard/` of the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from flowpwm.config import flatten
from sweeps.core.worker.tracking.tracker import Row, Tracked

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_S = 15


class TensorboardTracker:
    """One run of TensorBoard a trial; an attempt that goes on takes back what it does again."""

    place: Mapping[str, str] = MappingProxyType({})

    def __init__(self, trial: Tracked) -> None:
        self._trial = trial
        self._writer: SummaryWriter | None = None

    def open(self) -> None:
        """Begin an event file. TensorBoard reads all files of a folder as one run."""
        from torch.utils.tensorboard import SummaryWriter

        job, start = self._trial.job, self._trial.start
        self._writer = SummaryWriter(
            str(job.folder_path / "tensorboard" / job.trial_id),
            purge_step=start + 1 if start else None,
            flush_secs=FLUSH_S,
        )
        if not start:
            config = json.dumps(flatten(self._trial.config), indent=1)
            self._writer.add_text("config", f"```\n{config}\n```")

    def write(self, row: Row) -> None:
        """A point of every metric."""
        assert self._writer is not None
        for name, value in row.values.items():
            self._writer.add_scalar(name, value, row.step)

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
