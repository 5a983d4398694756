"""What comes next in a sweep, and whether anybody still drives it: a row a run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames import Frames
from analysis.load import load_heard
from analysis.names import InputError
from analysis.runs import runs_below
from analysis.status import counts_of, status
from sweeps.core.store.events import Driver, driver_of

COLUMNS = [
    *("sweep", "run", "state"),
    *("trials", "waiting", "running", "done", "stopped", "failed", "cancelled"),
    *("failures", "progress", "remaining_s", "next_at", "ends_at", "driver", "path"),
]
#: A driver that cannot be looked up from here beats every 10 s; after this long it is in doubt.
SILENT_DRIVER_S = 300.0


def overview(
    paths: str | Path | Iterable[str | Path], *, now: datetime | None = None
) -> pd.DataFrame:
    """One row a run below `paths`, newest first: sweep, run, state, the counts of `counts`,
    failures (how many of which class), progress (0..1), remaining_s, next_at and ends_at (UTC: when
    the next running trial and the whole sweep are expected to end), driver, path.

    state: finished (also where only the tables were kept); running; silent (the driver is on
    another machine, and was not heard of for 5 minutes); interrupted (it left before the end); dead
    (its process is gone). Without a driver nothing is due. A run that cannot be read is left out
    with a warning.

    Raises:
        InputError: no such folder, or no run in one of `paths`.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for path in runs_below(paths):
        try:
            frames = load_heard(path)
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        began = str(frames.events["time"].min()) if len(frames.events) else ""
        rows[began, str(path)] = row_of(frames, status(frames, now=now), now=now)
    return pd.DataFrame([rows[key] for key in sorted(rows, reverse=True)], columns=COLUMNS)


def row_of(frames: Frames, table: pd.DataFrame, *, now: datetime | None = None) -> dict[str, Any]:
    """The row of `overview` of one run, from its `status`."""
    now = now or datetime.now(UTC)
    total = counts_of(frames, table).iloc[-1].to_dict()
    driver = driver_of(frames.path)
    state = _state(frames, driver, now)
    left = float(total["remaining_s"])
    driven = state in ("running", "silent")
    ends = now + pd.to_timedelta(left, unit="s") if driven and not math.isnan(left) else pd.NaT
    return {
        "sweep": frames.path.parent.name,
        "run": frames.path.name,
        "state": state,
        **{name: total[name] for name in COLUMNS[3:10]},
        "failures": failure_counts(frames),
        "progress": total["progress"],
        "remaining_s": left,
        "next_at": table["due_at"].min(),
        "ends_at": ends,
        "driver": _told(frames, driver, state, now),
        "path": str(frames.path),
    }


def failure_counts(frames: Frames) -> str:
    """How many trials failed of which class: "oom_host 2, error 1"; "" if none did."""
    failed = frames.trials[frames.trials["status"] == "FAILED"]
    kinds = failed["failure_class"].fillna("error").value_counts()
    return ", ".join(f"{kind} {number}" for kind, number in kinds.items())


def _state(frames: Frames, driver: Driver | None, now: datetime) -> str:
    only_tables = len(frames.trials) > 0 and (frames.events["event"] == "note").all()
    if frames.finished or only_tables:
        return "finished"
    if driver is None:
        return "dead"
    if not driver.alive:
        return "interrupted" if driver.released else "dead"
    return "silent" if (now - driver.beat).total_seconds() > SILENT_DRIVER_S else "running"


def _told(frames: Frames, driver: Driver | None, state: str, now: datetime) -> str:
    if state == "finished":
        return ""
    name = frames.spec.get("name", frames.path.parent.name)
    resume = f"go on with: python sweeps/{name}.py --resume {frames.path}"
    if driver is None:
        return f"nobody drives this sweep; {resume}"
    who = f"process {driver.pid} on {driver.host}"
    if state == "interrupted":
        return f"{who} left before the end; {resume}"
    if state == "dead":
        return f"{who} is dead (last heard of {driver.beat:%Y-%m-%d %H:%M} UTC); {resume}"
    if state == "silent":
        minutes = (now - driver.beat).total_seconds() / 60
        return f"{who} was not heard of for {minutes:.0f} min"
    return f"{who} is at work"
