"""The driver's memory of a sweep: every event goes to the log and into the state at once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from sweeps.core.protocol.grid import Source
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.rungs import Decision
from sweeps.core.store.state import SweepState, TrialRecord, fold, fold_sweep

Listener = Callable[[str, TrialRecord, Mapping[str, Any]], None]
_RESULT_KEYS = (
    *("attempt", "epoch", "env_steps", "score", "wall_time_s", "log_path"),
    *("unsaved", "wandb_group", "wandb_link"),
)
_START_KEYS = ("gpu", "node", "node_id", "together", "num_gpus")
_END_KEYS = ("failure_class", "message", "cause", "taken_from")
#: Where a run holds memory.
WHERE = ("host", "device")


class Log(Protocol):
    """Where events are kept: `events.EventLog`, or the memory of a simulation."""

    def append(self, event: str, trial_id: str | None = None, **payload: Any) -> None:
        """Keep one event."""
        ...


class Recorder:
    """Appends events and keeps the records they lead to; safe to share between threads."""

    def __init__(self, log: Log, events: Iterable[dict[str, Any]] = ()) -> None:
        events = list(events)
        self.state: SweepState = fold(events)
        self.listeners: list[Listener] = []
        self.source: Source | None = None
        self._log = log
        self._lock = threading.RLock()
        self._histories: dict[str, list[dict[str, Any]]] = {}
        for event in events:
            if event.get("trial_id") is not None:
                self._histories.setdefault(event["trial_id"], []).append(event)

    def sweep(self, event: str, **payload: Any) -> None:
        """An event of the whole sweep."""
        with self._lock:
            self._log.append(event, **payload)
            fold_sweep(self.state, {"event": event, "time": _now()} | payload)

    def planned(self, plan: Plan) -> None:
        """A trial exists from now on."""
        self._append("planned", plan.trial_id, **plan.event())

    def queued(self, plan: Plan) -> None:
        """Tune has the trial, which waits for its resources."""
        self._append("queued", plan.trial_id)

    def started(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A worker began, or began again, from `result["epoch"]`."""
        where = {key: result.get(key) for key in _START_KEYS}
        self._append("started", trial_id, **_pick(result), **where)

    def progressed(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """A worker lives, and has perhaps evaluated."""
        self._append(
            "progress",
            trial_id,
            **_pick(result),
            kind=result.get("kind"),
            **{f"{where}_memory_bytes": result.get(f"{where}_memory_bytes") for where in WHERE},
        )
        score = result.get("score")
        if self.source is not None and result.get("kind") == "evaluated" and _finite(score):
            # Offline training takes no environment steps.
            progress = result["env_steps"] or result["epoch"]
            self.source.progressed(trial_id, progress, float(score or 0.0))

    def decided(self, decision: Decision, result: Mapping[str, Any]) -> None:
        """A rung was reached, with `result`: of which the driver may not live to tell itself."""
        self._append(
            "rung",
            decision.trial_id,
            bracket=decision.bracket,
            milestone=decision.milestone,
            score=decision.score,
            cutoff=decision.cutoff,
            decision="continue" if decision.go_on else "stop",
            variance=decision.variance,
            epoch=result.get("epoch"),
            env_steps=result.get("env_steps"),
        )

    def ended(self, trial_id: str, event: str, result: Mapping[str, Any]) -> None:
        """The trial is completed, stopped, failed, interrupted or cancelled."""
        extra = {k: result[k] for k in _END_KEYS if k in result}
        self._append(
            event,
            trial_id,
            **_pick(result),
            **extra,
            **_peaks(result),
        )
        record = self.state.trials[trial_id]
        if self.source is not None and record.final:
            self.source.ended(trial_id, record.status, record.score)

    def heard(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """What a worker said: a start, an evaluation, a heartbeat or its last word."""
        outcome = result.get("outcome")
        if outcome is not None:
            self.ended(trial_id, outcome, result)
        elif result.get("kind") == "started":
            self.started(trial_id, result)
        else:
            self.progressed(trial_id, result)

    def left(self, trial_id: str) -> None:
        """A worker is done with a trial; where a rung stopped it, it has not said so itself."""
        record = self.state.trials[trial_id]
        if record.stop_decided and not record.final:
            last = record.rungs[-1]
            message = f"below the cut at {last.milestone:,} {record.progress_unit}"
            self.ended(trial_id, "stopped", {"message": message})

    def requeued(self, trial_id: str, result: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """An attempt failed; the next one runs with what `given` says."""
        self._append(
            "requeued",
            trial_id,
            **_pick(result),
            cause=result["failure_class"],
            message=result["message"],
            **_peaks(result),
            **given,
        )

    def of_stage(self, stage: str) -> list[TrialRecord]:
        """The trials of a stage in the order they were planned."""
        with self._lock:
            return [t for t in self.state.trials.values() if t.stage == stage]

    def trials(self) -> list[TrialRecord]:
        """All trials so far."""
        with self._lock:
            return list(self.state.trials.values())

    def _append(self, event: str, trial_id: str, **payload: Any) -> None:
        payload = {key: _plain(value) for key, value in payload.items() if value is not None}
        with self._lock:
            self._log.append(event, trial_id, **payload)
            history = self._histories.setdefault(trial_id, [])
            if event == "progress" and history and history[-1]["event"] == "progress":
                history.pop()  # each heartbeat says all that the one before said
            history.append({"event": event, "trial_id": trial_id, "time": _now()} | payload)
            record = fold(history).trials[trial_id]
            self.state.trials[trial_id] = record
        for listener in self.listeners:
            listener(event, record, payload)


def _pick(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result.get(key) for key in _RESULT_KEYS}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _peaks(result: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{where}_memory_peak_bytes": result.get(f"{where}_memory_bytes") for where in WHERE}


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
