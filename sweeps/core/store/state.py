"""The state of a sweep as a fold over its events: where resumes, statuses and tables start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.core.store.records import (
    Extension,
    Failure,
    Note,
    Past,
    Played,
    Rung,
    TrialRecord,
)
from sweeps.core.store.schema import DONE_STATUSES

__all__ = [
    "Extension",
    "Failure",
    "Note",
    "Past",
    "Played",
    "Rung",
    "SweepState",
    "TrialRecord",
    "fold",
    "fold_sweep",
]

_ENDED = {
    "completed": "COMPLETED",
    "stopped": "STOPPED",
    "failed": "FAILED",
    "interrupted": "INTERRUPTED",
    "cancelled": "CANCELLED",
}


@dataclass
class SweepState:
    """The sweep as its events tell it. `rungs` keeps the order in which they were decided."""

    spec: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)  # stage -> "running" | "finished"
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage -> selected payload
    rungs: list[Rung] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)  # trials of every stage, at most
    job: dict[str, str] | None = None  # variables of the last resume; None: `environment.json`
    started_at: str | None = None
    finished_at: str | None = None
    exit_code: int | None = None
    resumes: int = 0
    extensions: list[Extension] = field(default_factory=list)
    winners: list[str] = field(default_factory=list)  # configurations, each as it was chosen
    #: Test seeds of winners that another one replaced: looked at before it was chosen.
    spent_seeds: frozenset[int] = frozenset()
    past: list[Past] = field(default_factory=list)  # trials of earlier sweeps, best first

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
        if event["event"] == "note":
            _note(state, event)
        elif trial_id is None:
            fold_sweep(state, event)
        else:
            trial = state.trials.setdefault(trial_id, TrialRecord(trial_id))
            _fold_trial(state, trial, event)
    return state


def fold_sweep(state: SweepState, event: Mapping[str, Any]) -> None:
    """Take an event of the whole sweep into `state`."""
    name = event["event"]
    if name == "sweep_started":
        state.spec = dict(event.get("spec") or {})
        state.asked = dict(event.get("trials") or {})
        state.started_at = event["time"]
    elif name == "stage_started":
        state.stages[event["stage"]] = "running"
    elif name == "stage_finished":
        state.stages[event["stage"]] = "finished"
    elif name == "selected":
        state.decisions[event["stage"]] = _payload(event)
        if event["stage"] == "select":
            _crown(state, event.get("config_ids") or [])
    elif name == "extended":
        _extend(state, event)
    elif name == "warm_started":
        state.past = [Past.of(plain) for plain in event.get("trials") or ()]
    elif name == "resumed":
        state.resumes += 1
        state.job = dict(event.get("job") or {})
        state.finished_at = state.exit_code = None
        _interrupt_live(state)
        _reopen(state, everything=bool(event.get("retry_failed")))
    elif name == "sweep_finished":
        state.finished_at = event["time"]
        state.exit_code = event.get("exit_code")
        _interrupt_live(state)


def _crown(state: SweepState, config_ids: list[str]) -> None:
    """A winner that replaces another one counts only where nobody has looked yet."""
    if not config_ids or state.winners[-1:] == config_ids[:1]:
        return
    if state.winners:
        state.spent_seeds = frozenset(t.seed for t in _tests(state))
    state.winners.append(config_ids[0])


def _extend(state: SweepState, event: Mapping[str, Any]) -> None:
    tests = _tests(state)
    state.extensions.append(
        Extension(
            time=event["time"],
            added=dict(event.get("added") or {}),
            before=event.get("before", ""),
            scored=sum(trial.score is not None for trial in tests),
            seeds=tuple(sorted({trial.seed for trial in tests})),
        )
    )
    state.spec = dict(event.get("spec") or state.spec)
    state.asked = dict(event.get("trials") or state.asked)
    state.finished_at = state.exit_code = None
    for stage in event.get("stages") or ():
        state.stages.pop(stage, None)
        state.decisions.pop(stage, None)


def _tests(state: SweepState) -> list[TrialRecord]:
    return [trial for trial in state.trials.values() if trial.stage == "confirm"]


def _interrupt_live(state: SweepState) -> None:
    """The driver is gone, and every worker with it: what still ran was interrupted."""
    for trial in state.trials.values():
        if trial.status in ("QUEUED", "RUNNING"):
            trial.status = "INTERRUPTED" if trial.attempt else "PENDING"


def _reopen(state: SweepState, *, everything: bool) -> None:
    """Storage that failed says nothing about a trial: a resume takes it up where that still counts,
    and one that was asked to takes up `everything` that failed.

    Not where its stage has chosen without it.
    """
    for trial in state.trials.values():
        lost = trial.status == "FAILED" and (everything or trial.failure_class == "storage")
        if lost and trial.stage not in state.decisions:
            trial.status = "INTERRUPTED"
            state.stages[trial.stage] = "running"


def _note(state: SweepState, event: Mapping[str, Any]) -> None:
    # A note makes no trial: where the plan of its trial is lost, it is one on the sweep.
    trial = state.trials.get(event.get("trial_id") or "")
    notes = state.notes if trial is None else trial.notes
    notes.append(Note(event["time"], event.get("text", "")))


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
        trial.queued_at = trial.queued_at or event["time"]
    elif name == "started":
        trial.attempt = attempt
        trial.status = "RUNNING"
        trial.started_at = trial.started_at or event["time"]
        trial.ended_at = trial.failure_class = trial.failure_message = None
        trial.resources = dict(event.get("resources") or trial.resources)
        trial.log_path = event.get("log_path", trial.log_path)
        trial.host_memory_bytes, trial.unsaved = None, 0
        trial.together = event.get("together", 1)
        if "num_gpus" in event:  # of a process that several share
            trial.gpus_by_attempt[attempt] = event["num_gpus"]
        trial.gpu = event.get("gpu", trial.gpu)
        trial.node = event.get("node", trial.node)
        trial.node_id = event.get("node_id", trial.node_id)
        trial.job = state.job
        trial.last_seen = event["time"]
    elif name == "progress":
        # The heartbeat of a worker may be read after the end its driver wrote.
        if trial.ended_at is None:
            _measure(trial, event)
    elif name == "rung":
        _decide(state, trial, event)
    elif name == "evaluated":
        _play(trial, event)
    elif name == "requeued":
        trial.attempt = attempt
        _measure(trial, event)
        _requeue(trial, event)
    elif name in _ENDED:
        trial.attempt = attempt
        _measure(trial, event)
        trial.status = _ENDED[name]
        trial.ended_at = event["time"]
        trial.taken_from = event.get("taken_from", trial.taken_from)
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
    trial.unsaved = event.get("unsaved", trial.unsaved)
    trial.wandb_group = event.get("wandb_group", trial.wandb_group)
    trial.wandb_link = event.get("wandb_link", trial.wandb_link)
    if (seconds := event.get("wall_time_s")) is not None:
        trial.wall_time_by_attempt_s[trial.attempt] = seconds
    trial.host_memory_bytes = event.get("host_memory_bytes", trial.host_memory_bytes)
    trial.host_memory_peak_bytes = _most(trial.host_memory_peak_bytes, event, "host")
    trial.device_memory_peak_bytes = _most(trial.device_memory_peak_bytes, event, "device")


def _most(known: int | None, event: Mapping[str, Any], where: str) -> int | None:
    told = (event.get(f"{where}_memory_bytes"), event.get(f"{where}_memory_peak_bytes"), known)
    return max((used for used in told if used is not None), default=None)


def _play(trial: TrialRecord, event: Mapping[str, Any]) -> None:
    played = Played(
        time=event["time"],
        which=event.get("which", ""),
        protocol=event.get("protocol", ""),
        seed=event.get("seed", 0),
        n=event.get("n", 0),
        return_mean=event.get("return_mean"),
        return_median=event.get("return_median"),
        return_iqm=event.get("return_iqm"),
        return_std=event.get("return_std"),
        tasks=tuple(event.get("tasks") or ()),
    )
    trial.played.append(played)
    # Of a run that a rung stopped it says nothing that would make it a whole one.
    if trial.status in DONE_STATUSES:
        trial.status = "EVALUATED"


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
    had = float(trial.resources.get("num_gpus") or 0.0)
    for attempt in trial.wall_time_by_attempt_s:
        trial.gpus_by_attempt.setdefault(attempt, had)
    given = ("num_cpus", "num_gpus", "memory_bytes", "accelerator")
    trial.resources = trial.resources | {key: event[key] for key in given if key in event}


def _decide(state: SweepState, trial: TrialRecord, event: Mapping[str, Any]) -> None:
    rung = Rung(
        trial.trial_id,
        str(event["bracket"]),
        event["milestone"],
        event.get("score"),
        event.get("cutoff"),
        event["decision"],
        event.get("attempt", trial.attempt),
        event.get("variance"),
    )
    known = {(old.bracket, old.milestone) for old in trial.rungs}
    if (rung.bracket, rung.milestone) not in known:
        trial.rungs.append(rung)
        state.rungs.append(rung)
        _measure(trial, event)


def _payload(event: Mapping[str, Any]) -> dict[str, Any]:
    header = ("schema", "writer", "seq", "event", "trial_id")
    return {key: value for key, value in event.items() if key not in header}
