"""The state of a sweep as a fold over its events: where resumes, statuses and tables start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.core.schema import FINAL_STATUSES

_ENDED = {
    "completed": "COMPLETED",
    "stopped": "STOPPED",
    "failed": "FAILED",
    "interrupted": "INTERRUPTED",
    "cancelled": "CANCELLED",
    "evaluated": "EVALUATED",
}


@dataclass(frozen=True)
class Rung:
    """One decision of the scheduler. `milestone` is in env steps, or epochs of offline training."""

    trial_id: str
    bracket: str
    milestone: int
    score: float | None
    cutoff: float | None
    decision: str  # "continue" | "stop"
    attempt: int


@dataclass(frozen=True)
class Failure:
    """Why one attempt ended badly."""

    attempt: int
    failure_class: str
    message: str
    step: str = ""  # what the next attempt was given for it; '' where there was none


@dataclass
class TrialRecord:
    """What the events say about one (config, seed). `attempt` counts from 1; 0: not started."""

    trial_id: str
    arm: str = ""
    stage: str = ""
    config_id: str = ""
    task: str = ""
    seed: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    nfe: int | None = None
    status: str = "PENDING"
    attempt: int = 0
    epochs_done: int = 0
    env_steps: int = 0
    score: float | None = None
    failure_class: str | None = None
    failure_message: str | None = None
    failures: list[Failure] = field(default_factory=list)
    log_path: str | None = None
    rungs: list[Rung] = field(default_factory=list)
    planned_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    last_seen: str | None = None
    host_memory_peak_bytes: int | None = None
    wall_time_by_attempt_s: dict[int, float] = field(default_factory=dict)

    @property
    def epochs(self) -> int | None:
        """The budget in epochs."""
        return self.config.get("epochs")

    @property
    def progress_unit(self) -> str:
        """What rungs are counted in: a run from a dataset takes no environment steps."""
        return "env steps" if self.config.get("mode", "online") == "online" else "epochs"

    @property
    def wall_time_s(self) -> float | None:
        """Seconds over all attempts; None before the first report."""
        times = self.wall_time_by_attempt_s
        return sum(times.values()) if times else None

    @property
    def final(self) -> bool:
        """Whether the trial is never started again."""
        return self.status in FINAL_STATUSES

    @property
    def stop_decided(self) -> bool:
        """Whether a rung stopped the trial, even if the crash came before its `stopped` event."""
        return any(rung.decision == "stop" for rung in self.rungs)


@dataclass
class SweepState:
    """The sweep as its events tell it. `rungs` keeps the order in which they were decided."""

    spec: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)  # stage -> "running" | "finished"
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage -> selected payload
    rungs: list[Rung] = field(default_factory=list)
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    resumes: int = 0

    @property
    def finished(self) -> bool:
        """Whether the last driver ended by itself."""
        return self.finished_at is not None

    def unfinished(self) -> list[TrialRecord]:
        """The trials a resume has to start, in the order they were planned."""
        return [trial for trial in self.trials.values() if not trial.final]


def fold(events: Iterable[Mapping[str, Any]]) -> SweepState:
    """Replay events, in the order of `read_events`, into the state they lead to.

    An event of an attempt older than the newest known one changes nothing: its process was
    replaced. A rung decided twice, because the trial went back to an earlier checkpoint, keeps
    its first decision. Events of unknown name are passed over.
    """
    state = SweepState()
    for event in events:
        trial_id = event.get("trial_id")
        if trial_id is None:
            _fold_sweep(state, event)
        else:
            trial = state.trials.setdefault(trial_id, TrialRecord(trial_id))
            _fold_trial(state, trial, event)
    return state


def _fold_sweep(state: SweepState, event: Mapping[str, Any]) -> None:
    name = event["event"]
    if name == "sweep_started":
        state.spec = dict(event.get("spec") or {})
        state.started_at = event["time"]
    elif name == "stage_started":
        state.stages[event["stage"]] = "running"
    elif name == "stage_finished":
        state.stages[event["stage"]] = "finished"
    elif name == "selected":
        state.decisions[event["stage"]] = _payload(event)
    elif name == "resumed":
        state.resumes += 1
        state.finished_at = state.exit_code = None
        _interrupt_live(state)
    elif name == "sweep_finished":
        state.finished_at = event["time"]
        state.exit_code = event.get("exit_code")
        _interrupt_live(state)


def _interrupt_live(state: SweepState) -> None:
    """The driver is gone, and every worker with it: what still ran was interrupted."""
    for trial in state.trials.values():
        if trial.status in ("QUEUED", "RUNNING"):
            trial.status = "INTERRUPTED"


def _fold_trial(state: SweepState, trial: TrialRecord, event: Mapping[str, Any]) -> None:
    name = event["event"]
    if name == "planned":
        _plan(trial, event)
        return
    attempt = event.get("attempt", trial.attempt)
    if attempt < trial.attempt:
        return
    if name == "queued":
        trial.status = "QUEUED"
    elif name == "started":
        trial.attempt = attempt
        trial.status = "RUNNING"
        trial.started_at = trial.started_at or event["time"]
        trial.ended_at = trial.failure_class = trial.failure_message = None
        trial.resources = dict(event.get("resources") or trial.resources)
        trial.log_path = event.get("log_path", trial.log_path)
        trial.last_seen = event["time"]
    elif name == "progress":
        # The heartbeat of a worker may be read after the end its driver wrote.
        if trial.ended_at is None:
            _measure(trial, event)
    elif name == "rung":
        _decide(state, trial, event)
    elif name == "requeued":
        trial.attempt = attempt
        _measure(trial, event)
        _requeue(trial, event)
    elif name in _ENDED:
        trial.attempt = attempt
        _measure(trial, event)
        trial.status = _ENDED[name]
        trial.ended_at = event["time"]
        if name == "failed":
            _fail(trial, event)


def _plan(trial: TrialRecord, event: Mapping[str, Any]) -> None:
    trial.arm = event.get("arm", trial.arm)
    trial.stage = event.get("stage", trial.stage)
    trial.config_id = event.get("config_id", trial.config_id)
    trial.task = event.get("task", trial.task)
    trial.seed = event.get("seed", trial.seed)
    trial.config = dict(event.get("config") or trial.config)
    trial.params = dict(event.get("params") or trial.params)
    trial.resources = dict(event.get("resources") or trial.resources)
    trial.parameters = event.get("parameters", trial.parameters)
    trial.nfe = event.get("nfe", trial.nfe)
    trial.planned_at = trial.planned_at or event["time"]


def _measure(trial: TrialRecord, event: Mapping[str, Any]) -> None:
    trial.last_seen = event["time"]
    trial.epochs_done = event.get("epoch", trial.epochs_done)
    trial.env_steps = event.get("env_steps", trial.env_steps)
    trial.score = event.get("score", trial.score)
    trial.log_path = event.get("log_path", trial.log_path)
    if (seconds := event.get("wall_time_s")) is not None:
        trial.wall_time_by_attempt_s[trial.attempt] = seconds
    for key in ("host_memory_bytes", "host_memory_peak_bytes"):
        if (used := event.get(key)) is not None:
            trial.host_memory_peak_bytes = max(used, trial.host_memory_peak_bytes or 0)


def _fail(trial: TrialRecord, event: Mapping[str, Any]) -> None:
    trial.failure_class = event.get("failure_class", "error")
    trial.failure_message = event.get("message", "")
    failure = Failure(trial.attempt, trial.failure_class or "error", trial.failure_message or "")
    trial.failures.append(failure)


def _requeue(trial: TrialRecord, event: Mapping[str, Any]) -> None:
    """An attempt failed and another follows, with other resources or in smaller parts."""
    trial.status = "PENDING"
    failure = event.get("cause", "error"), event.get("message", ""), event.get("step", "")
    trial.failures.append(Failure(trial.attempt, *failure))
    if (parts := event.get("microbatches")) is not None:
        trial.config["microbatches"] = parts
    given = {key: event[key] for key in ("num_cpus", "num_gpus", "memory_bytes") if key in event}
    trial.resources = trial.resources | given


def _decide(state: SweepState, trial: TrialRecord, event: Mapping[str, Any]) -> None:
    rung = Rung(
        trial.trial_id,
        str(event["bracket"]),
        event["milestone"],
        event.get("score"),
        event.get("cutoff"),
        event["decision"],
        event.get("attempt", trial.attempt),
    )
    known = {(old.bracket, old.milestone) for old in trial.rungs}
    if (rung.bracket, rung.milestone) not in known:
        trial.rungs.append(rung)
        state.rungs.append(rung)


def _payload(event: Mapping[str, Any]) -> dict[str, Any]:
    header = ("schema", "writer", "seq", "event", "trial_id")
    return {key: value for key, value in event.items() if key not in header}
