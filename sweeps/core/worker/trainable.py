"""One trial inside its Ray worker: the only module that imports both Ray and flowpwm.train.

The worker writes its own rows and checkpoints; the driver hears of evaluations and of the end. A
Python exception is a result, not a crash. Only a process that ran out of memory, or that hangs, is
ended: the next trial is to have a fresh one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from flowpwm import checkpoint, memory
from flowpwm.compose import from_dict
from flowpwm.config import RunConfig
from flowpwm.report import METRICS, Report
from flowpwm.state import TrainState
from flowpwm.storage import remove_stale
from flowpwm.train import train
from sweeps.core.host.cgroup import memory_limit
from sweeps.core.protocol.ladder import MEMORY_CLASSES
from sweeps.core.store.exits import write_exit
from sweeps.core.store.folder import StorageError
from sweeps.core.store.patience import PATIENCE_S, Patience
from sweeps.core.store.series import SeriesWriter, next_attempt
from sweeps.core.worker.failures import failure_class, last_line
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.stop_signal import StopSignal
from sweeps.core.worker.tracking.trackers import Trackers
from sweeps.core.worker.triallog import TrialLog
from sweeps.core.worker.watchdog import Limits, Watchdog

CHECKPOINT_SHARE = 20  # a checkpoint that took t seconds is followed by 20 t seconds of work
HEARTBEAT_S = 15.0
CHECKPOINT_S = 60.0


def run_job(job: Job, limits: Limits | None = None) -> dict[str, Any]:
    """Train one job to its end, a stop or a failure, and return what became of it.

    `limits` are the watchdog's; None: those that follow from the job. The last result's `outcome`
    is completed, interrupted or failed. A rung that ends the trial raises SystemExit out of
    `tune.report`, with everything saved before. Raises StorageError where the run folder cannot be
    seen, and OutOfMemory with its last words left beside the log.
    """
    stop = StopSignal(job.folder_path / "stop")
    if stop():
        return {"outcome": "interrupted", "attempt": 0}
    require_folder(job.folder_path)
    attempt = next_attempt(job.folder_path, job.trial_id)
    stop.replaced_if(lambda: next_attempt(job.folder_path, job.trial_id) > attempt + 1)
    try:
        trial_log = TrialLog(job.folder_path, job.trial_id, attempt)
    except OSError as error:  # there is no place to say it
        words = {"failure_class": failure_class(error), "message": last_line(error)}
        return {"outcome": "failed", "attempt": attempt} | words
    with trial_log as log:
        run = Attempt(job, attempt, stop, log, limits=limits or limits_of(job))
        try:
            result = run.result()
        except Exception as error:  # noqa: BLE001 - every exception becomes a row
            log.failure(error)
            result = run.failure(error)
        if result.get("failure_class") in MEMORY_CLASSES and run.leave(result):
            raise OutOfMemory(result["message"])
        return result


class OutOfMemory(RuntimeError):
    """The attempt ran out of memory and left its last words; its process is used up."""


def require_folder(folder: Path) -> None:
    """Raise StorageError where the run folder cannot be seen from here."""
    if not (folder / "events").is_dir():
        raise StorageError(
            f"{folder} is not visible on {socket.gethostname()}: "
            "results must lie on storage that all nodes share"
        )


def gpu_name(config: RunConfig) -> str | None:
    """The GPU that a run of `config` computes on in this process; None on a CPU."""
    return torch.cuda.get_device_name() if config.device == "cuda" else None


def this_node() -> dict[str, str]:
    """Where this process runs: `node` for people, `node_id` for Ray where it has one."""
    where = {"node": socket.gethostname()}
    if ray.is_initialized():
        where["node_id"] = ray.get_runtime_context().get_node_id()
    return where


@dataclass
class Attempt:
    """One run of one trial in this process, which may have `runs` of several."""

    job: Job
    attempt: int
    stop: StopSignal
    log: TrialLog
    state: TrainState | None = None
    limits: Limits = field(default_factory=Limits)
    runs: int = 1

    def __post_init__(self) -> None:
        self.began = self.reported_at = self.saved_at = time.monotonic()
        self.save_took = 0.0
        self.trackers: Trackers | None = None
        self.skipped = 0  # checkpoints that storage did not take
        self.watchdog = Watchdog(self.limits, self.log.warning, self.last_words, self.log.stream)

    def result(self) -> dict[str, Any]:
        """Train, and return the last result."""
        config = from_dict(self.job.config)
        make_room(config, self.job)
        with self.watchdog:
            state = self.restore(config)
            try:
                with self.recording(state):
                    self.watchdog.follow(lambda: moved(state))
                    for report in train(state, self.should_stop):
                        with self.watchdog.excused():
                            self.take(state, report)
                    with self.watchdog.excused():
                        return self.finish(state)
            finally:
                state.close()

    def failure(self, error: Exception) -> dict[str, Any]:
        """The last result of an attempt that ended with an exception."""
        cause, message = failure_class(error), last_line(error)
        if cause == "storage" and self.stop():
            # Asked to stop while it waited for storage: it goes on from its last checkpoint.
            return self._failed(cause, message) | {"outcome": "interrupted"}
        if cause == "error" and (networks := self._broken_networks()):
            # Whatever tripped over them first, the weights are what is wrong.
            cause, message = "diverged", f"weights of {networks} are not finite: {message}"
        return self._failed(cause, message)

    def leave(self, result: dict[str, Any]) -> bool:
        """Whether the last result could be left in the run folder, where the driver finds it."""
        try:
            write_exit(self.job.folder_path, self.job.trial_id, self.attempt, result)
        except OSError as error:
            self.log.warning("last words not written: %s", error)
            return False
        return True

    @contextmanager
    def recording(self, state: TrainState) -> Iterator[None]:
        """While rows and trackers are open; the driver is told of the start."""
        dtypes = {name: metric.dtype for name, metric in METRICS.items()}
        folder, trial_id = self.job.folder_path, self.job.trial_id
        # What the trial asked for by itself is not what a process of several has.
        of_all = {"together": self.runs, "num_gpus": self.job.resources["num_gpus"]}
        shared = of_all if self.runs > 1 else {}
        # A row that storage does not take holds training up; a checkpoint is skipped.
        patience = Patience(PATIENCE_S, self.should_stop, self.log.warning)
        with (
            SeriesWriter(
                folder, trial_id, self.attempt, dtypes=dtypes, patience=patience
            ) as self.series,
            Trackers(
                self.job, state.config, self.log, start=getattr(state, self.job.progress)
            ) as self.trackers,
        ):
            self._tell(state, kind="started", gpu=gpu_name(state.config), **this_node(), **shared)
            yield

    def should_stop(self) -> bool:
        """Whether memory is short, or the sweep stops."""
        return self.watchdog.stop_asked or self.stop()

    def last_words(self, cause: str, message: str) -> None:
        """Of a process that the watchdog ends: said by a thread of its own, and perhaps cut off."""
        self.leave(self._failed(cause, message))
        if cause == "hang":
            self.log.stacks()
        self.log.warning("ended by the watchdog: %s", message)
        if (series := getattr(self, "series", None)) is not None:  # else it never came to train
            series.flush()

    def _failed(self, cause: str, message: str) -> dict[str, Any]:
        standing = {"attempt": self.attempt, "log_path": self.log.relative_path}
        if self.state is not None:
            standing = self._standing(self.state)
        return standing | {"outcome": "failed", "failure_class": cause, "message": message}

    def _broken_networks(self) -> str:
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

    def restore(self, config: RunConfig) -> TrainState:
        """The run as it was last saved, or from its start."""
        remove_stale(self._last.parent)
        if not checkpoint.exists(self._last):
            self.log.info("starts from its first epoch")
            self.state = TrainState.start(config)
        else:
            # A damaged checkpoint fails the trial: to begin again unasked would hide the loss.
            self.state = checkpoint.load(self._last, config)
            self.log.info("goes on from epoch %d", self.state.epoch)
        return self.state

    def take(self, state: TrainState, report: Report) -> None:
        """Write a report down, save where it is time to, and tell the driver."""
        where = {"epoch": report.epoch, "env_steps": report.env_steps}
        self.series.report(where | dict(report.metrics))
        if self.trackers:
            self.trackers.log(report)
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
        if self.stop.abandoned:
            self.log.warning("checkpoint %s not saved: another attempt may train now", which)
            return
        try:
            checkpoint.save(state, self._last.with_name(which), resumable=which == "last")
        except OSError as error:
            # The one before it is still there; training is worth more than this checkpoint.
            self.skipped += 1
            self.log.warning("checkpoint %s skipped at epoch %d: %s", which, state.epoch, error)
        if which == "last":
            self.saved_at = time.monotonic()
            self.save_took = self.saved_at - began

    def _tell(self, state: TrainState, kind: str, **more: Any) -> None:
        """A line for the driver, which may end the trial here; everything is on disk before."""
        self.series.flush()
        tune.report(self._standing(state) | {"kind": kind, "of": self.job.trial_id} | more)
        self.reported_at = time.monotonic()

    def _standing(self, state: TrainState) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "epoch": state.epoch,
            "env_steps": state.env_steps,
            "score": state.score,
            "score_variance": state.score_variance,
            "host_memory_bytes": self.watchdog.memory_peak_bytes // self.runs or None,
            "device_memory_bytes": memory.device_peak_bytes(state.config.device) // self.runs
            or None,
            # Its share, as of memory: hours of several in one process add up to the process's.
            "wall_time_s": (time.monotonic() - self.began) / self.runs,
            "log_path": self.log.relative_path,
            "unsaved": self.skipped or None,
            **(self.trackers.place if self.trackers else {}),
        }

    def finish(self, state: TrainState) -> dict[str, Any]:
        """Save, and return the last result of a run that ended without an exception."""
        self._save(state, "last")
        abandoned = self.stop.abandoned
        # All epochs, or no improvement for as long as it was to wait; and that is saved.
        done = state.finished and not abandoned
        if self.watchdog.stop_asked and not done:
            return self._failed("oom_host", self.watchdog.memory_text)
        self.log.info("%s at epoch %d", "completed" if done else "interrupted", state.epoch)
        if self.skipped:
            self.log.warning("checkpoints skipped: %d", self.skipped)
        end: dict[str, Any] = {"outcome": "completed" if done else "interrupted"}
        if abandoned:
            end["abandoned"] = True  # nobody asked it to stop: another attempt has to follow
        if done and state.epoch < state.config.epochs:
            end["message"] = f"no better score in {state.config.patience} evaluations"
        return self._standing(state) | end


def make_room(config: RunConfig, job: Job) -> None:
    """Give back what the trial before held in this process, and keep to the job's share."""
    torch.set_num_threads(config.num_threads)
    memory.give_back()
    memory.limit_device(config.device, float(job.resources["num_gpus"]))


def moved(state: TrainState) -> tuple[int, ...]:
    """What changes as long as a run does anything, epochs first."""
    played = state.evaluator.steps if state.evaluator else 0
    return state.epoch, state.updates, state.env_steps, played


def limits_of(job: Job) -> Limits:
    """The memory that the trial asked for, or what its control group has if that is less."""
    wanted = int(job.resources["memory_bytes"])
    limit = memory_limit()
    return Limits(wanted if limit is None else min(wanted, limit.limit_bytes))
