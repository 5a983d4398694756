"""A run and the folder it is kept in: one writer, its reports row by row, checkpoints, resuming."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.modes import MODES
from flowpwm.report import Report
from flowpwm.state import TrainState

REPORTS = "reports.jsonl"


class KeptRun:
    """A training whose `folder` remembers it; with None it is forgotten at the end.

    It goes on from the folder's last checkpoint, if there is one. Raises ConfigError where another
    training writes there, or another configuration did.
    """

    def __init__(self, config: RunConfig, folder: Path | None):
        self.config, self.folder = config, folder
        if folder is not None:
            # Before anything is spent; the lock is gone with this process.
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = (folder / ".lock").open("w")
            except (FileExistsError, NotADirectoryError, PermissionError) as error:
                said = f"--out {folder} is no folder to write to ({error.strerror})"
                raise ConfigError(said) from error
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"--out {folder}: another training writes there") from error
        self.resumed = folder is not None and checkpoint.exists(folder / "last")
        self.state = self._resume() if self.resumed else TrainState.start(config)

    @property
    def last(self) -> Path | None:
        """The checkpoint that it goes on from."""
        return self.folder / "last" if self.folder is not None else None

    def _resume(self) -> TrainState:
        assert self.folder is not None
        try:
            state = checkpoint.load(self.folder / "last", self.config)
        except checkpoint.OtherConfiguration as error:
            raise ConfigError(
                f"--out {self.folder} holds another run ({'; '.join(error.changed)}); choose "
                "another folder, or give the settings that it has to go on with it"
            ) from error
        _forget_after(state.epoch, self.folder / REPORTS)
        return state

    def take(self, report: Report) -> bool:
        """Write a report down; at evaluations and the end, checkpoints too. Whether it was one."""
        if self.folder is not None:
            _write_row(report, self.folder / REPORTS)
        if report.epoch % self.config.evaluation.every and report.epoch < self.config.epochs:
            return False
        if self.folder is not None:
            self.save()
            if report.is_best or not MODES[self.config.mode].trains_policy:
                checkpoint.save(self.state, self.folder / "best", resumable=False)
        return True

    def save(self) -> None:
        """Keep the run as it is now."""
        if self.folder is not None:
            checkpoint.save(self.state, self.folder / "last")


def _forget_after(epoch: int, reports: Path) -> None:
    """Drop rows of what is trained once more: they were newer than the checkpoint."""
    if reports.exists():
        rows = reports.read_text(encoding="utf-8").splitlines(keepends=True)
        # A row that was cut off by a kill has no end, and is the newest.
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["epoch"] <= epoch]
        whole = reports.with_name(f".{reports.name}.tmp")
        whole.write_text("".join(kept), encoding="utf-8")
        os.replace(whole, reports)


def _write_row(report: Report, reports: Path) -> None:
    row = {"epoch": report.epoch, "env_steps": report.env_steps, "score": report.score}
    row["returns"] = {e.task: e.returns.tolist() for e in report.evaluations}
    row["lengths"] = {e.task: e.lengths.tolist() for e in report.evaluations}
    with reports.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | dict(report.metrics)) + "\n")
