"""What a sweep says while it runs: a redrawn block on a terminal, lines in a log file."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TextIO

from sweeps.core.definition.axes import Range, cell_text
from sweeps.core.definition.quantity import duration, hours_text
from sweeps.core.definition.sweep import Sweep
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.protocol.ladder import step_text
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.requests import Resources
from sweeps.core.store.schema import DONE_STATUSES
from sweeps.core.store.state import TrialRecord

SUMMARY_S = 300.0
REDRAW_S = 1.0
MOST_RUNNING = 8
EVENTS_SHOWN = 5
_SHOWN_EVENTS = (
    *("started", "completed", "stopped", "failed", "interrupted", "requeued"),
    "unsaved",  # by the storage, as a heartbeat tells
)


class Console:
    """Prints pages and events; `tick` is called often and redraws or sums up when it is time."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._quiet = quiet
        self._live = self._stream.isatty() and not quiet
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._drawn = 0  # lines of the block that stand on the screen
        self._next_tick = 0.0
        self._recent: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._unsaved: dict[tuple[str, int], int] = {}  # by trial and attempt, as far as told
        self._sweep: Sweep | None = None
        self._varied: set[str] = set()
        self._recorder: Recorder | None = None
        self._remaining: Remaining | None = None

    def page(self, text: str, *, always: bool = False) -> None:
        """A page that stays."""
        if always or not self._quiet:
            with self._lock:
                self._erase()
                self._write(text + "\n")

    def watch(self, sweep: Sweep, recorder: Recorder, remaining: Remaining) -> None:
        """Tell of this recorder's events from now on, and of what remains."""
        self._sweep, self._recorder, self._remaining = sweep, recorder, remaining
        sizes = {k: 2 if isinstance(axis, Range) else len(axis) for k, axis in sweep.space.items()}
        self._varied = {key for key, size in sizes.items() if size > 1}
        recorder.listeners.append(self.event)
        self._next_tick = time.monotonic() + (REDRAW_S if self._live else SUMMARY_S)

    def event(self, name: str, trial: TrialRecord, payload: Mapping[str, Any]) -> None:
        """An event of a trial; called from the thread that recorded it."""
        if trial.unsaved > self._unsaved.get(key := (trial.trial_id, trial.attempt), 0):
            self._unsaved[key] = trial.unsaved
            self._tell("unsaved", trial, payload)
        self._tell(name, trial, payload)

    def _tell(self, name: str, trial: TrialRecord, payload: Mapping[str, Any]) -> None:
        if self._quiet or name not in _SHOWN_EVENTS:
            return
        line = f"{self._stamp()} {event_line(name, trial, payload, self._where(trial))}"
        with self._lock:
            self._recent.append(line)
            # On a terminal only what needs a reader's eye stays; the rest is in the block.
            if not self._live or name in ("failed", "requeued", "unsaved"):
                self._erase()
                self._write(line + "\n")

    def tick(self) -> None:
        """Redraw the block, or sum up in a log, if it is time."""
        if self._quiet or self._recorder is None or time.monotonic() < self._next_tick:
            return
        self._next_tick = time.monotonic() + (REDRAW_S if self._live else SUMMARY_S)
        with self._lock:
            if self._live:
                self._draw(self._block())
            else:
                self._write("\n".join(self._summary()) + "\n")

    def close(self) -> None:
        """Take the block off the screen."""
        with self._lock:
            self._recorder = None
            self._erase()

    def _summary(self) -> list[str]:
        assert self._recorder is not None and self._sweep is not None
        trials = self._recorder.trials()
        lines = [f"{self._stamp()} {self._numbers(trials)}"]
        if best := self._best(trials):
            lines.append(f"{self._stamp()} {best}")
        return lines

    def _block(self) -> list[str]:
        assert self._recorder is not None and self._sweep is not None
        trials = self._recorder.trials()
        stage = next((s for s, how in self._recorder.state.stages.items() if how == "running"), "")
        lines = ["", f"{self._sweep.name}  {stage}  {self._numbers(trials)}"]
        running = [t for t in trials if t.status == "RUNNING"]
        lines += [running_line(t, self._where(t)) for t in running[:MOST_RUNNING]]
        if len(running) > MOST_RUNNING:
            lines.append(f"  ... and {len(running) - MOST_RUNNING} more")
        if best := self._best(trials):
            lines.append(f"  {best}")
        return lines + [f"  {line}" for line in self._recent]

    def _numbers(self, trials: list[TrialRecord]) -> str:
        assert self._sweep is not None
        of = Counter(trial.status for trial in trials)
        total = sum(self._sweep.planned_trials().values())
        ended = sum(trial.final for trial in trials)
        done = sum(of[status] for status in DONE_STATUSES)
        return (
            f"run {of['RUNNING']}  wait {max(0, total - ended - of['RUNNING'])}  "
            f"done {done}  stopped {of['STOPPED']}  failed {of['FAILED']}  "
            f"{self._eta(trials)}{self._spent(trials)}"
        )

    def _eta(self, trials: list[TrialRecord]) -> str:
        assert self._remaining is not None
        left = self._remaining.seconds(trials)
        if left is None:
            return ""
        end = datetime.now() + timedelta(seconds=left.est)
        clock = f"{end:%H:%M}" if left.est < 20 * 3600 else f"{end:%a %H:%M}"
        between = f"{duration(left.low)} to {duration(left.high)}"
        return f"about {duration(left.est)} left ({between}), ends {clock}"

    def _spent(self, trials: list[TrialRecord]) -> str:
        assert self._remaining is not None
        spent, device = self._remaining.spent_hours(trials), self._remaining.device
        hours = self._remaining.hours
        return f"  {device}-h {hours_text(spent)}/{hours_text(hours)}" if spent else ""

    def _where(self, trial: TrialRecord) -> str:
        """The arm and its place on the axes that have more than one value."""
        cell = {key: value for key, value in trial.params.items() if key in self._varied}
        task = trial.task if self._sweep is not None and len(self._sweep.tasks) > 1 else ""
        return " ".join(filter(None, (trial.arm, task, cell_text(cell))))

    def _best(self, trials: Iterable[TrialRecord]) -> str:
        # Named as what it is: the largest of many noisy numbers.
        scored = [t for t in trials if t.score is not None and t.stage == "screen"]
        if not scored:
            return ""
        best = max(scored, key=lambda t: t.score or float("-inf"))
        return f"best so far (screening, biased, n=1): score {best.score:.1f}  {self._where(best)}"

    def _stamp(self) -> str:
        elapsed = duration(time.monotonic() - self._began)
        return f"{datetime.now():%H:%M} +{elapsed}"

    def _draw(self, lines: list[str]) -> None:
        width = shutil.get_terminal_size((100, 24)).columns - 1
        self._erase()
        self._write("".join(line[:width] + "\n" for line in lines))
        self._drawn = len(lines)

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _write(self, text: str) -> None:
        # A full disk or a closed terminal is no reason to end a sweep; what the disk did not take
        # is still in the buffer and comes with the next line.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def event_line(name: str, trial: TrialRecord, payload: Mapping[str, Any], where: str) -> str:
    """One event of a trial in one line."""
    if name == "requeued":
        return requeued_line(trial, payload)
    if name == "unsaved":
        count = f"{trial.unsaved} checkpoint{'s' if trial.unsaved > 1 else ''}"
        return (
            f"WARN  {trial.trial_id} at epoch {trial.epochs_done}: storage did not take {count}, "
            f"the one before is kept (log: {trial.log_path or 'none'})"
        )
    word = {"started": "start", "completed": "done", "stopped": "stop", "interrupted": "pause"}
    line = f"{word.get(name, 'FAIL'):<5} {trial.stage} {trial.trial_id}"
    if name == "started":
        again = f"attempt {trial.attempt} from epoch {payload.get('epoch', 0)}  "
        return f"{line}  {again if trial.attempt > 1 else ''}{where}"
    if name == "failed":
        return (
            f"{line} {trial.failure_class} at epoch {trial.epochs_done}: "
            f"{trial.failure_message} (log: {trial.log_path or 'none'})  {where}"
        )
    score = "" if trial.score is None else f" score {trial.score:.1f}"
    reason = f": {payload['message']}" if payload.get("message") else ""
    return f"{line} epoch {trial.epochs_done}{score}{reason}  {where}"


def requeued_line(trial: TrialRecord, payload: Mapping[str, Any]) -> str:
    """Why an attempt ended, and what the next one is given."""
    parts, resources = trial.config.get("microbatches", 1), Resources.from_dict(trial.resources)
    given = step_text(payload.get("step", ""), payload["cause"], parts, resources)
    return (
        f"{payload['cause']} {trial.trial_id} at epoch {trial.epochs_done:,} "
        f"({payload['message']}) -> requeued {given}"
    )


def running_line(trial: TrialRecord, where: str, width: int = 20) -> str:
    """Progress of a running trial."""
    epochs = trial.epochs or 1
    filled = min(width, width * trial.epochs_done // epochs)
    score = "" if trial.score is None else f"score {trial.score:8.1f}"
    return (
        f"  {trial.trial_id:<16} {'#' * filled}{'.' * (width - filled)} "
        f"{trial.epochs_done:>6}/{epochs:<6} {score:<15} {where}"
    )
