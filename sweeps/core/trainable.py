"""One trial inside its Ray worker: the only module that imports both Ray and flowpwm.train.

The worker writes its own rows and checkpoints; the driver hears of evaluations and of the end. A
Python exception is a result, not a crash, so that Tune retries only processes that died.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray import tune

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.compose import from_dict
from flowpwm.config import RunConfig
from flowpwm.datasets.errors import DatasetError
from flowpwm.report import METRICS, Report
from flowpwm.state import TrainState
from flowpwm.train import train
from flowpwm.updates import Diverged
from sweeps.core.folder import StorageError
from sweeps.core.jobs import Job
from sweeps.core.series import SeriesWriter, next_attempt
from sweeps.core.tracker import NoTracker, Tracker, open_tracker
from sweeps.core.triallog import TrialLog

CHECKPOINT_SHARE = 20  # a checkpoint that took t seconds is followed by 20 t seconds of work
HEARTBEAT_S = 15.0
CHECKPOINT_S = 60.0
_STORAGE_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO}


def run_trial(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train one job to its end, a stop or a failure, and return what became of it.

    The last result's `outcome` is completed, interrupted or failed. A rung that ends the trial
    raises SystemExit out of `tune.report`, with everything saved before. Raises StorageError
    where the run folder cannot be seen.
    """
    job = Job(**config)
    stop = StopSignal(job.folder_path / "stop")
    if stop():
        return {"outcome": "interrupted", "attempt": 0}
    if not (job.folder_path / "events").is_dir():
        raise StorageError(
            f"{job.folder_path} is not visible on {socket.gethostname()}: "
            "results must lie on storage that all nodes share"
        )
    attempt = next_attempt(job.folder_path, job.trial_id)
    with TrialLog(job.folder_path, job.trial_id, attempt) as log:
        run = _Attempt(job, attempt, stop, log)
        try:
            return run.result()
        except Exception as error:  # noqa: BLE001 - every exception becomes a row
            log.failure(error)
            cause, message = failure_class(error), last_line(error)
            if cause == "error" and (networks := run.broken_networks()):
                # Whatever tripped over them first, the weights are what is wrong.
                cause, message = "diverged", f"weights of {networks} are not finite: {message}"
            return {
                "outcome": "failed",
                "attempt": attempt,
                "failure_class": cause,
                "message": message,
                "log_path": log.relative_path,
            }


def last_line(error: BaseException) -> str:
    """What the last line of the traceback says."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def failure_class(error: BaseException) -> str:
    """One of `schema.FAILURE_CLASSES`."""
    if isinstance(error, Diverged):
        return "diverged"
    if isinstance(error, (checkpoint.CheckpointError, DatasetError, ConfigError)):
        return "data"  # a configuration was checked before: its files are gone or changed
    if isinstance(error, torch.OutOfMemoryError):
        return "oom_gpu"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "oom_host"
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        return "storage"
    return "error"


def gpu_name(config: RunConfig) -> str | None:
    """The GPU that a run of `config` computes on in this process; None on a CPU."""
    return torch.cuda.get_device_name() if config.device == "cuda" else None


class StopSignal:
    """Whether to stop: the sweep asks for it, or the Ray node of this worker is gone.

    Looks at the file at most twice a second, as it may lie on a shared file system.
    """

    def __init__(self, path: Path, interval_s: float = 0.5) -> None:
        self._path = path
        self._interval_s = interval_s
        self._parent = os.getppid()
        self._asked_at = float("-inf")
        self._stop = False

    @property
    def orphaned(self) -> bool:
        """The raylet died, and with it the driver: another attempt may be on its way."""
        return os.getppid() != self._parent

    def __call__(self) -> bool:
        """Whether to stop now; once true, always true."""
        now = time.monotonic()
        if not self._stop and now - self._asked_at >= self._interval_s:
            self._asked_at = now
            self._stop = self.orphaned or self._path.exists()
        return self._stop


@dataclass
class _Attempt:
    """One run of one trial in this process."""

    job: Job
    attempt: int
    stop: StopSignal
    log: TrialLog
    state: TrainState | None = None
    tracker: Tracker = field(default_factory=NoTracker)

    def result(self) -> dict[str, Any]:
        """Train, and return the last result."""
        config = from_dict(json.loads(self.job.config_json))
        torch.set_num_threads(config.num_threads)
        self.began = self.reported_at = self.saved_at = time.monotonic()
        self.save_took = 0.0
        self.memory_peak = 0
        state = self.state = self._restore(config)
        dtypes = {name: metric.dtype for name, metric in METRICS.items()}
        try:
            with (
                SeriesWriter(
                    self.job.folder_path, self.job.trial_id, self.attempt, dtypes=dtypes
                ) as self.series,
                open_tracker(self.job, config, self.log) as self.tracker,
            ):
                self._tell(state, kind="started", gpu=gpu_name(config))
                for report in train(state, self.stop):
                    self._take(state, report)
                return self._finish(state)
        finally:
            state.close()

    def broken_networks(self) -> str:
        """The networks that hold a weight that is not finite, '' if none does."""
        if self.state is None:
            return ""
        broken = [
            name
            for name, part in self.state.agent.named_children()
            if not all(bool(torch.isfinite(weight).all()) for weight in part.parameters())
        ]
        return ", ".join(broken)

    @property
    def _last(self) -> Path:
        return self.job.folder_path / "checkpoints" / self.job.trial_id / "last"

    def _restore(self, config: RunConfig) -> TrainState:
        if not checkpoint.exists(self._last):
            self.log.info("starts from its first epoch")
            return TrainState.start(config)
        # A damaged checkpoint fails the trial: to begin again unasked would hide the loss.
        state = checkpoint.load(self._last, config)
        self.log.info("goes on from epoch %d", state.epoch)
        return state

    def _take(self, state: TrainState, report: Report) -> None:
        where = {"epoch": report.epoch, "env_steps": report.env_steps}
        self.series.report(where | dict(report.metrics))
        self.tracker.log(report)
        memory = int(report.metrics.get("memory/host_bytes", 0))
        self.memory_peak = max(self.memory_peak, memory)
        evaluated = bool(report.evaluations)
        for evaluation in report.evaluations:
            self.series.evaluation(
                where
                | {
                    "wall_time_s": state.seconds["wall"],
                    "task": evaluation.task,
                    "protocol": evaluation.protocol,
                    "n": evaluation.n,
                    "return_mean": evaluation.mean,
                    "return_median": evaluation.median,
                    "return_iqm": evaluation.iqm,
                    "return_std": evaluation.std,
                    "length_mean": float(evaluation.lengths.mean()),
                    "success": evaluation.success,
                    "returns": evaluation.returns.tolist(),
                }
            )
        if evaluated:
            self.log.info(
                "epoch %d: return %.2f, score %.2f", report.epoch, report.return_mean, state.score
            )
            if report.is_best:
                self._save(state, "best")
        now = time.monotonic()
        waited = now - self.saved_at
        if waited >= CHECKPOINT_S or (evaluated and waited >= CHECKPOINT_SHARE * self.save_took):
            self._save(state, "last")
        if evaluated or now - self.reported_at >= HEARTBEAT_S:
            self._tell(state, kind="evaluated" if evaluated else "heartbeat")

    def _save(self, state: TrainState, which: str) -> None:
        began = time.monotonic()
        self.series.flush()  # rows first: a crash in between repeats them and loses none
        try:
            checkpoint.save(state, self._last.with_name(which), resumable=which == "last")
        except OSError as error:
            # The one before it is still there; training is worth more than this checkpoint.
            self.log.warning("checkpoint %s skipped at epoch %d: %s", which, state.epoch, error)
        if which == "last":
            self.saved_at = time.monotonic()
            self.save_took = self.saved_at - began

    def _tell(self, state: TrainState, kind: str, **more: Any) -> None:
        """A line for the driver, which may end the trial here; everything is on disk before."""
        self.series.flush()
        tune.report(self._standing(state) | {"kind": kind} | more)
        self.reported_at = time.monotonic()

    def _standing(self, state: TrainState) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "epoch": state.epoch,
            "env_steps": state.env_steps,
            "score": state.score,
            "score_variance": state.score_variance,
            "host_memory_bytes": self.memory_peak or None,
            "wall_time_s": time.monotonic() - self.began,
            "log_path": self.log.relative_path,
            **self.tracker.place,
        }

    def _finish(self, state: TrainState) -> dict[str, Any]:
        done = state.finished  # all epochs, or no improvement for as long as it was to wait
        if not self.stop.orphaned:
            self._save(state, "last")
        self.log.info("%s at epoch %d", "completed" if done else "interrupted", state.epoch)
        end = {"outcome": "completed" if done else "interrupted"}
        if done and state.epoch < state.config.epochs:
            end["message"] = f"no better score in {state.config.patience} evaluations"
        return self._standing(state) | end
