"""Writes what logs and registries tell as the events and series of a sweep, and loads that."""

from __future__ import annotations

import dataclasses
import math
import re
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.frames import Frames
from analysis.importing.contradictions import disagreements, in_itself, number_in
from analysis.importing.pwm_log import CONTRADICTION, PwmLog, read_pwm_log, returns_of
from analysis.importing.registry_table import Entry, read_registry
from analysis.load import load
from analysis.names import InputError, check
from sweeps.core.store.compact import compact
from sweeps.core.store.events import EventLog
from sweeps.core.store.series import SeriesWriter

PATTERNS = ("pwm",)
LOGS, TABLES = (".out", ".log", ".txt"), (".md",)
#: What the authors of these logs called their flows (docs/experiments.md).
VARIANTS: Mapping[str, dict[str, Any]] = {
    "v1": {"world_model.integrator": "heun", "world_model.substeps": 2},
    "v2": {"world_model.integrator": "heun", "world_model.substeps": 4},
    "v3": {"world_model.integrator": "euler", "world_model.substeps": 8},
}
SINGLE_TASK, SEVERAL_TASKS = "dflex_ant", "mt30"
_PROTOCOLS = {False: "training episodes, running mean of 100", True: "10 deterministic episodes"}


def import_logs(
    paths: str | Path | Iterable[str | Path],
    *,
    pattern: str = "pwm",
    out: str | Path | None = None,
    task: str | None = None,
) -> Frames:
    """Logs (.out, .log, .txt) and registries (Markdown tables) as the frames of a sweep.

    A path may be a file or a folder of them. Every log is a trial: its progress lines are reports,
    its returns evaluations (of a single task the running mean over training episodes, marked so by
    their protocol), its end a status with a failure class. Registry rows are joined by job id; a
    row without a log is a trial without a score. What contradicts itself or each other is kept as
    it was written and noted on the trial (`contradictions`).

    out: a new run folder that keeps it all, for `load`; None keeps nothing on disk. task: what they
    trained on (default: "dflex_ant", or "mt30" for logs of several tasks). pattern: "pwm".

    Raises:
        InputError: no such path, nothing to import in it, an unknown pattern, `out` exists.
        OSError: a file cannot be read or `out` not be written.
    """
    check("pattern", pattern, PATTERNS)
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    files = list(dict.fromkeys(_files(given)))
    logs = [
        log
        for path in files
        if path.suffix in LOGS and _is_log(log := read_pwm_log(path), asked=path in given)
    ]
    entries = [entry for path in files if path.suffix in TABLES for entry in read_registry(path)]
    if not logs and not entries:
        raise InputError(f"nothing to import in {', '.join(map(str, given)) or 'no path'}")
    if out is not None:
        if Path(out).exists():
            raise InputError(f"{out} exists; an import is a run folder of its own")
        return load(_write(Path(out), logs, entries, task))
    with tempfile.TemporaryDirectory() as folder:
        frames = load(_write(Path(folder) / "imported" / "logs", logs, entries, task))
    home = given[0] if given[0].is_dir() else given[0].parent
    return dataclasses.replace(frames, path=home.resolve())


def contradictions(frames: Frames) -> list[str]:
    """What imported logs and registries contradict each other in, a line each."""
    notes = frames.events[frames.events["event"] == "note"]
    return [
        f"{trial_id}: {payload['text'].removeprefix(CONTRADICTION)}"
        for trial_id, payload in zip(notes["trial_id"], notes["payload"], strict=True)
        if payload.get("text", "").startswith(CONTRADICTION)
    ]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.suffix in (*LOGS, *TABLES))
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder")
        elif path.suffix not in (*LOGS, *TABLES):
            raise InputError(f"{path}: not a log ({', '.join(LOGS)}) nor a Markdown table")
        else:
            yield path


def _is_log(log: PwmLog, *, asked: bool) -> bool:
    """Whether a file of a folder is of a training; one that was asked for by its name is."""
    if asked or log.job_id or log.attempts or log.failure_class:
        return True
    warnings.warn(f"{log.path.name}: no line of a training; left out", stacklevel=3)
    return False


def _write(folder: Path, logs: list[PwmLog], entries: list[Entry], task: str | None) -> Path:
    folder.mkdir(parents=True)
    names = _names(logs)
    by_job: dict[str, list[Entry]] = {}
    for entry in entries:
        by_job.setdefault(re.sub(r"\D.*", "", entry.fields.get("job_id", "")), []).append(entry)
    events = EventLog(folder, "driver")
    events.append("sweep_started", spec=_spec(logs))
    for log, trial_id in zip(logs, names, strict=True):
        told = by_job.pop(log.job_id, []) if log.job_id else []
        _log_trial(folder, events, trial_id, log, told, task)
    alone = [entry for told in by_job.values() for entry in told]
    for number, entry in enumerate(alone, start=1):
        _registry_trial(events, f"registry-{number:03d}", entry, task)
    events.append("sweep_finished", exit_code=0)
    events.close()
    compact(folder)
    return folder


def _names(logs: Iterable[PwmLog]) -> list[str]:
    """A name for every log that can be a folder, each once."""
    seen: Counter[str] = Counter()
    names = []
    for log in logs:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", log.path.stem).strip("-.") or "log"
        seen[stem] += 1
        names.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return names


def _spec(logs: Iterable[PwmLog]) -> dict[str, Any]:
    sizes = sorted({log.size for log in logs if log.size})
    return {
        "name": "imported",
        "kind": "compare",
        "baseline": "mlp",
        "goal": "imported from logs and registries",
        "imported": True,
        "space": {"size": sizes},
    }


def _log_trial(
    folder: Path,
    events: EventLog,
    trial_id: str,
    log: PwmLog,
    told: list[Entry],
    task: str | None,
) -> None:
    task = task or (SEVERAL_TASKS if log.several_tasks else SINGLE_TASK)
    arm, params = _arm(log.variant)
    params |= {"size": log.size} if log.size else {}
    fields: dict[str, str] = {}
    for entry in told:
        fields = {**entry.fields, **fields}
    seed = log.seed if log.seed is not None else number_in(fields.get("seed", ""))
    events.append(
        "planned",
        trial_id,
        arm=arm,
        stage="confirm",
        config_id=f"{log.size or 'size'}-{log.variant or arm}",
        seed=_unknown_seed(log.path.read_bytes()) if seed is None else int(seed),
        task=fields.get("task", task) if log.several_tasks else task,
        config={"task": task, "epochs": log.epochs, "variant": log.variant, "size": log.size},
        params=params,
        resources={"num_cpus": 0.0, "num_gpus": 1.0, "memory_bytes": 0},
    )
    score = wall = None
    for attempt, returns in enumerate(returns_of(log), start=1):
        rows = log.attempts[attempt - 1]
        events.append("started", trial_id, attempt=attempt)
        wall = _write_series(folder, trial_id, attempt, rows, returns, log, task)
        if attempt < len(log.attempts):
            about = {"epoch": max(rows, default=0), "wall_time_s": wall}
            events.append("interrupted", trial_id, attempt=attempt, **about)
        last = [returns[epoch] for epoch in sorted(returns)[-5:]]
        score = sum(last) / len(last) if last else None
    if not log.attempts:
        events.append("started", trial_id, attempt=1)
    measured = {
        "attempt": max(1, len(log.attempts)),
        "epoch": log.epochs_done,
        "env_steps": int((log.attempts[-1].get(log.epochs_done) or {}).get("env_steps", 0))
        if log.attempts
        else 0,
        "score": score,
        "wall_time_s": wall or 0.0,
        "log_path": str(log.path),
    }
    failure = {"failure_class": log.failure_class} if log.status == "failed" else {}
    events.append(log.status, trial_id, message=log.message, **failure, **measured)
    if log.final is not None:
        events.append("evaluated", trial_id, which="last", n=10, return_mean=log.final)
    for text in [*log.remarks, *disagreements(log, told)]:
        events.append("note", trial_id, text=text)
    for entry in told:
        events.append("note", trial_id, text=_kept(entry))


def _unknown_seed(what: bytes) -> int:
    """A number below 0 in the place of a seed that nobody wrote down: it pairs with none, and the
    same log that is imported twice has the same."""
    return -1 - zlib.crc32(what) % 1_000_000


def _arm(name: str) -> tuple[str, dict[str, Any]]:
    """The arm that a file's or an experiment's name stands for, and its parameters."""
    low = name.lower()
    if "flow" not in low:
        return "mlp", {}
    found = re.search(r"\bv[1-3]\b", low.replace("_", " "))
    if found is None:
        return re.sub(r"[^a-z0-9]+", "-", low[low.index("flow") :]).strip("-"), {}
    return f"flow-{found[0]}", dict(VARIANTS[found[0]])


def _write_series(
    folder: Path,
    trial_id: str,
    attempt: int,
    rows: Mapping[int, Mapping[str, float]],
    returns: Mapping[int, float],
    log: PwmLog,
    task: str,
) -> float:
    """Reports and evaluations of an attempt; its wall time in seconds, as far as it is told."""
    wall = steps = 0.0
    elapsed: dict[int, tuple[float, int]] = {}
    with SeriesWriter(folder, trial_id, attempt) as series:
        for epoch in sorted(rows):
            row = dict(rows[epoch])
            reached = row.pop("env_steps", 0.0)
            rate = row.get("rate/env_steps_per_s", 0.0)
            wall += (reached - steps) / rate if rate > 0 else 0.0
            steps = reached
            elapsed[epoch] = (wall, int(steps))
            at = {"epoch": epoch, "env_steps": int(steps), "time/wall_s": wall}
            series.report(at | row)
        for epoch in sorted(returns):
            seconds, at_steps = elapsed.get(epoch, (math.nan, 0))
            series.evaluation(
                {
                    "epoch": epoch,
                    "env_steps": at_steps,
                    "wall_time_s": seconds,
                    "task": task,
                    "protocol": _PROTOCOLS[log.several_tasks],
                    "n": 10 if log.several_tasks else 100,
                    "return_mean": returns[epoch],
                }
            )
    return wall


def _registry_trial(events: EventLog, trial_id: str, entry: Entry, task: str | None) -> None:
    """A row that has no log: what it says of itself."""
    fields = entry.fields
    name = fields.get("experiment", "") or trial_id
    seed = number_in(fields.get("seed", ""))
    arm, params = _arm(name)
    events.append(
        "planned",
        trial_id,
        arm=arm,
        stage="confirm",
        config_id=re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-") or trial_id,
        seed=_unknown_seed(_kept(entry).encode()) if seed is None else int(seed),
        task=fields.get("task", task or SINGLE_TASK),
        config={"epochs": int(number_in(fields.get("epochs", "")) or 0)},
        params=params,
        resources={},
    )
    status = entry.statuses[-1] if entry.statuses else "PENDING"
    ended = {"COMPLETED": "completed", "EVALUATED": "completed", "FAILED": "failed"}
    ended |= {"CANCELLED": "cancelled", "RUNNING": "interrupted"}
    if status in ended:
        events.append("started", trial_id, attempt=1)
        about = {"score": number_in(fields.get("final", "")), "attempt": 1}
        failure = {"failure_class": "error", "message": fields.get("notes", "")}
        events.append(ended[status], trial_id, **about, **(failure if status == "FAILED" else {}))
    for text in [*(f"{CONTRADICTION}{line}" for line in in_itself([entry])), _kept(entry)]:
        events.append("note", trial_id, text=text)


def _kept(entry: Entry) -> str:
    told = "; ".join(f"{name}: {text}" for name, text in entry.fields.items())
    return f"{entry.path.name} line {entry.line}: {told}"
