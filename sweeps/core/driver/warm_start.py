"""What earlier sweeps on disk know: read for the screen of a new one, and taken over where equal.

What was found is recorded in the new run folder at once. A resume reads it there, and does not ask
whether the earlier folders are still what they were.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.pages.parts import row
from sweeps.core.protocol.grid import is_enumerable
from sweeps.core.protocol.past import best_first, fit
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.adopt import adopt
from sweeps.core.store.events import fold, read_events
from sweeps.core.store.parquet import DamagedTable
from sweeps.core.store.records import Past

ENVIRONMENT = "environment.json"
#: Runs that are told of one by one.
MOST_RUNS = 5


@dataclass(frozen=True)
class WarmStart:
    """Trials that fit, best first; how many each run has and gave; why others were left out.

    `tested` are test seeds of the new sweep on which runs that gave any have compared before.
    """

    path: Path
    trials: tuple[Past, ...]
    runs: Mapping[str, tuple[int, int]]
    left_out: Mapping[str, Mapping[str, int]]
    tested: tuple[int, ...]
    warnings: tuple[str, ...]

    def event(self) -> dict[str, Any]:
        """The payload of the `warm_started` event."""
        return {
            "path": str(self.path),
            "trials": [trial.to_dict() for trial in self.trials],
            "runs": {run: list(numbers) for run, numbers in self.runs.items()},
            "left_out": self.left_out,
            "tested": self.tested,
        }

    def rows(self, sweep: Tune) -> list[str]:
        """Lines of the first page."""
        shown = sorted(self.runs, key=lambda run: -self.runs[run][1])
        lines = [row("warm start", _use(sweep, self.trials))]
        lines += [row("", self._of_run(run), indent=2) for run in shown[:MOST_RUNS]]
        if rest := shown[MOST_RUNS:]:
            used, all_of = (sum(self.runs[run][i] for run in rest) for i in (1, 0))
            lines.append(row("", f"{used} of {all_of} trials of {len(rest)} more runs used"))
        return lines

    def _of_run(self, run: str) -> str:
        all_of, used = self.runs[run]
        text = f"{used} of {all_of} trials of {_short(run)} used"
        reasons = self.left_out[run]
        if not reasons:
            return text
        why = ", ".join(f"{n} {reason}" for reason, n in Counter(reasons).most_common())
        return f"{text}; {sum(reasons.values())} left out: {why}"


def look_back(sweep: Sweep, path: Path, here: Mapping[str, Any]) -> WarmStart:
    """The trials below `path` that the screen can use; `here` is `machine.environment`.

    Raises UsageError where nothing is screened, or no run is there.
    """
    if not isinstance(sweep, Tune):
        raise UsageError("--warm-start: this sweep compares, it has no screening to start warm")
    runs = _runs(path)
    found: dict[str, Past] = {}
    numbers: dict[str, tuple[int, int]] = {}
    left_out: dict[str, Counter[str]] = {}
    compared: dict[str, set[int]] = {}
    for run in runs:
        events = read_events(run)
        values = _values(events)
        records = fold(events).trials
        name, reasons = str(run), Counter[str]()
        for record in records.values():
            seen = fit(sweep, record, values.get(record.trial_id, {}), name)
            if isinstance(seen, str):
                reasons[seen] += 1
            elif (other := found.get(seen.trial_id)) and _worth(other) >= _worth(seen):
                reasons["known from another run"] += 1
            else:
                if other:
                    left_out[other.run]["known from another run"] += 1
                found[seen.trial_id] = seen
        left_out[name] = reasons
        compared[name] = {t.seed for t in records.values() if t.stage == "confirm" and t.attempt}
        numbers[name] = (len(records), 0)
    used = Counter(trial.run for trial in found.values())
    numbers = {run: (all_of, used[run]) for run, (all_of, _) in numbers.items()}
    warnings = [*_other_code([run for run in numbers if used[run]], here)]
    seen_seeds = set().union(*(compared[run] for run in numbers if used[run]))
    tested = tuple(seed for seed in sweep.confirm.seeds if seed in seen_seeds)
    if tested:
        warnings.append(
            f"test seeds {', '.join(map(str, tested))} were used by the sweeps that "
            "this one learns from; confirm.seeds=[...] with others gives an independent verdict"
        )
    if not found:
        warnings.append(f"--warm-start {path}: no trial there fits, the sweep starts cold")
    trials = tuple(best_first(found.values()))
    return WarmStart(path, trials, numbers, left_out, tested, tuple(warnings))


def taken_over(folder: Path, recorder: Recorder, trial_id: str) -> bool:
    """End a planned trial of the screen with the result that an earlier sweep has of it, if any.

    Its rows are written first: a crash in between leaves a trial that is taken over again.
    """
    past = next((t for t in recorder.state.past if t.exact and t.trial_id == trial_id), None)
    if past is None or recorder.state.trials[trial_id].attempt:
        return False
    try:
        rows = adopt(Path(past.run), folder, trial_id)
    except (DamagedTable, FileNotFoundError, NotADirectoryError):
        return False  # it went away since: the trial runs
    if rows is None:
        return False
    result = {
        "attempt": rows.attempt,
        "epoch": rows.epoch,
        "env_steps": rows.env_steps,
        "score": past.score,
        "taken_from": _short(past.run),
        "message": f"taken over from {_short(past.run)}",
    }
    recorder.ended(trial_id, "completed", result)
    return True


def _worth(trial: Past) -> tuple[bool, bool]:
    return trial.exact, trial.status != "STOPPED"


def _runs(path: Path) -> list[Path]:
    """The run folders that are, or lie up to two levels below, `path`; the newest last."""
    found = [
        events.parent for depth in ("", "*/", "*/*/") for events in path.glob(f"{depth}events")
    ]
    runs = dict.fromkeys(run.resolve() for run in found)
    if not runs:
        raise UsageError(f"--warm-start {path}: no run of a sweep there")
    return sorted(runs, key=lambda run: run.name)


def _values(events: list[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Scores of every trial by its progress, as its evaluations told."""
    values: dict[str, dict[int, float]] = {}
    for event in events:
        if event["event"] == "progress" and event.get("kind") == "evaluated":
            progress = event.get("env_steps") or event.get("epoch")
            if progress and event.get("score") is not None:
                values.setdefault(event["trial_id"], {})[progress] = event["score"]
    return values


def _other_code(runs: list[str], here: Mapping[str, Any]) -> list[str]:
    ours = here.get("git") or "unknown"
    others: dict[str, list[str]] = {}
    for run in runs:
        try:
            there = json.loads((Path(run) / ENVIRONMENT).read_text(encoding="utf-8")).get("git")
        except (OSError, ValueError, AttributeError):
            there = None
        if there != here.get("git"):
            others.setdefault(there or "unknown", []).append(_short(run))
    return [
        f"{', '.join(names[:MOST_RUNS])} ran with code {commit}, here it is {ours}"
        for commit, names in others.items()
    ]


def _use(sweep: Tune, trials: tuple[Past, ...]) -> str:
    exact = sum(trial.exact for trial in trials)
    rungs = sum(len(trial.rungs) for trial in trials)
    order = "the better half of known cells first, best first, then unknown cells"
    if not is_enumerable(sweep):
        stopped = sum(trial.status == "STOPPED" for trial in trials)
        order = f"the study begins with {len(trials)} observations, {stopped} of them pruned"
    return (
        f"screening only: {order}; {rungs} scores in rungs; up to {exact} results are taken over "
        "as they are"
    )


def _short(run: str) -> str:
    """Sweep and run, as in `results/<sweep>/<run-id>`."""
    return "/".join(Path(run).parts[-2:])
