"""Every trial of every sweep in one table: a view over what the sweeps wrote, never edited."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import trials_of
from analysis.names import InputError, check
from analysis.registry_words import comparison, methodology, note_text, outcome, params_text
from analysis.runs import runs_below
from analysis.summarize import last_line
from sweeps.core.store.events import TrialRecord, driver_of, fold, read_events

FORMATS = ("df", "md")
TIMES = ("planned_at", "queued_at", "started_at", "ended_at", "evaluated_at")
COLUMNS = [
    *("sweep", "run", "stage", "goal", "comparison", "methodology"),
    *("job_id", "array_index", "gpu"),
    *("trial_id", "config_id", "arm", "params", "task", "seed"),
    *("status", "attempts", *TIMES, "runtime_s"),
    *("best_checkpoint", "last_checkpoint", "wandb_group", "wandb_link"),
    *("score", "peak", "epochs_done", "epochs"),
    *("evaluated_mean", "evaluated_iqm", "evaluated_std", "evaluated_n", "evaluated_which"),
    *("outcome", "failure_class", "cause", "notes", "sweep_notes", "path"),
]


def registry(
    path_or_paths: str | Path | Iterable[str | Path], fmt: str = "df"
) -> pd.DataFrame | str:
    """Every trial of every sweep below `path_or_paths`, a row each, the newest first.

    A path may be one run folder, a sweep's folder or a whole results root. fmt: "df" for pandas,
    "md" for Markdown (a heading and a table a run).

    Columns: sweep, run, stage; goal, comparison, methodology as text; job_id and array_index of
    SLURM, gpu; trial_id, config_id, arm, params, task, seed; status (PENDING, QUEUED, RUNNING, then
    COMPLETED, STOPPED, FAILED, CANCELLED or INTERRUPTED, then EVALUATED), attempts; planned_at,
    queued_at, started_at, ended_at, evaluated_at (UTC), runtime_s; best_checkpoint and
    last_checkpoint (relative to the run folder, where they exist); wandb_group, wandb_link; score,
    peak (biased: a maximum), epochs_done of epochs; evaluated_* (its latest evaluation on unseen
    episodes); outcome as text; failure_class and cause of the last failure; notes and sweep_notes
    (oldest first, each with its time); path. What an older sweep did not record is missing. A run
    that cannot be read is left out with a warning.

    Raises:
        InputError: no such folder, no run below it, or an unknown fmt.
    """
    check("fmt", fmt, FORMATS)
    rows: list[dict[str, Any]] = []
    for folder in runs_below(path_or_paths):
        try:
            rows += _rows(folder)
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
    table = pd.DataFrame(rows, columns=COLUMNS)
    times = {name: pd.to_datetime(table[name], utc=True, format="ISO8601") for name in TIMES}
    whole = {name: table[name].astype("Int64") for name in ("attempts", "seed", "evaluated_n")}
    table = table.assign(**times, **whole)
    # The later of two that were planned at the same time stands first, as in a list that grows.
    table = table.iloc[::-1].sort_values(
        "planned_at", ascending=False, kind="stable", na_position="last", ignore_index=True
    )
    if fmt == "df":
        return table
    from analysis.registry_page import markdown

    return markdown(table)


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of one run in the order in which its trials were planned."""
    known = {str(row["trial_id"]): row for row in trials_of(folder).to_dict("records")}
    state = fold(read_events(folder, heartbeats=1))
    first = _environment(folder)
    about = {
        "sweep": state.spec.get("name") or folder.parent.name,
        "run": folder.name,
        "goal": state.spec.get("goal") or None,
        "methodology": methodology(state.spec) or None,
        "sweep_notes": note_text(state.notes) or None,
        "path": str(folder),
    }
    driver = driver_of(folder)
    if driver is not None and not driver.alive:
        for row in known.values():
            row["status"] = _left_behind(row)
    records = {key: state.trials.get(key, TrialRecord(key)) for key in {**state.trials, **known}}
    return [
        about
        | _what(known[key], record, state.spec)
        | _where(folder, known[key], record, first)
        | _how(known[key], record)
        for key, record in records.items()
        if key in known
    ]


def _left_behind(row: Mapping[Any, Any]) -> str:
    """The status of a trial whose driver is gone, as a resume will find it."""
    if row["status"] not in ("RUNNING", "QUEUED"):
        return str(row["status"])
    return "INTERRUPTED" if row["attempt"] > 0 else "PENDING"


def _what(row: Mapping[Any, Any], trial: TrialRecord, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The trial as it was planned."""
    same = ("trial_id", "config_id", "stage", "arm", "task", "seed", "epochs")
    return {name: row[name] for name in same} | {
        "comparison": comparison(str(row["arm"]), spec.get("baseline")),
        "params": params_text(trial.params),
        "planned_at": trial.planned_at,
        "queued_at": trial.queued_at,
        "notes": note_text(trial.notes) or None,
    }


def _where(
    folder: Path, row: Mapping[Any, Any], trial: TrialRecord, first: Mapping[str, Any]
) -> dict[str, Any]:
    """Its job, its GPU, and the places of what it left."""
    job = (first.get("job") or {}) if trial.job is None else trial.job
    # What the worker says goes before what the driver's machine has.
    gpus = ", ".join(dict.fromkeys(first.get("gpus") or [])) if row["num_gpus"] > 0 else ""
    return {
        "job_id": job.get("SLURM_JOB_ID"),
        "array_index": job.get("SLURM_ARRAY_TASK_ID"),
        "gpu": trial.gpu or gpus or None,
        "best_checkpoint": _checkpoint(folder, trial.trial_id, "best"),
        "last_checkpoint": _checkpoint(folder, trial.trial_id, "last"),
        "wandb_group": trial.wandb_group,
        "wandb_link": trial.wandb_link,
    }


def _how(row: Mapping[Any, Any], trial: TrialRecord) -> dict[str, Any]:
    """What became of it."""
    same = ("status", "started_at", "ended_at", "score", "peak", "epochs_done")
    failed = row["status"] == "FAILED"
    played = trial.played[-1] if trial.played else None
    found = {name: row[name] for name in same} | {
        "attempts": row["attempt"],
        "runtime_s": row["wall_time_s"],
        "outcome": outcome(row, played),
        "failure_class": row["failure_class"] if failed else None,
        "cause": (last_line(row["failure_message"]) or None) if failed else None,
    }
    if played is None:
        return found
    return found | {
        "evaluated_at": played.time,
        "evaluated_mean": played.return_mean,
        "evaluated_iqm": played.return_iqm,
        "evaluated_std": played.return_std,
        "evaluated_n": played.n,
        "evaluated_which": played.which,
    }


def _checkpoint(folder: Path, trial_id: str, which: str) -> str | None:
    place = Path("checkpoints", trial_id, which)
    return place.as_posix() if (folder / place).is_dir() else None


def _environment(folder: Path) -> Mapping[str, Any]:
    """What `environment.json` says; nothing if it is not there, or damaged."""
    try:
        found = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
