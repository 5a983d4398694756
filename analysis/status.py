"""Where a sweep stands: works on running ones, from what is on disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import Frames
from analysis.load import Source, load_heard
from analysis.scores import DONE
from analysis.several import joined
from analysis.summarize import last_line
from sweeps.core.store.events import driver_of
from sweeps.core.store.schema import STATUSES

WAITING = ("PENDING", "QUEUED", "INTERRUPTED")
ACTIVE = (*WAITING, "RUNNING")
SILENT_S = 900.0
#: Trials that got this far, or a tenth of their way, tell how fast they are.
FEWEST_EPOCHS = 10
_STAGES = {"screen": 0, "select": 1, "confirm": 2}


def status(sweep: Source, *, now: datetime | None = None) -> pd.DataFrame:
    """One row a trial, those at work first: trial_id, stage, arm, task, seed, status, attempt,
    epochs_done, epochs, progress (0..1), score, elapsed_s, remaining_s, due_at,
    memory_request_bytes, host_memory_peak_bytes, remark.

    remaining_s extrapolates the trial's own speed, or the median speed of its sweep before it has
    one; due_at (UTC) is when a running trial will then have ended, unless its driver is gone. The
    remark says why a trial failed, that its memory will outgrow its request, that nothing was heard
    of it for 15 minutes, or that it was started again.
    """
    frames = read(sweep)
    now = now or datetime.now(UTC)
    trials = frames.trials
    seen = _seen(frames)
    elapsed = trials["wall_time_s"].astype(float)
    done, total = trials["epochs_done"].astype(float), trials["epochs"].astype(float)
    # The first epochs have the start and the warm-up in them.
    pace = (elapsed / done).where((done > 0) & (done >= np.minimum(FEWEST_EPOCHS, total / 10)))
    usual = pace.median()
    left = (total - done).clip(lower=0)
    remaining = (left * pace.fillna(usual)).where(trials["status"].isin(ACTIVE))
    table = trials[["trial_id", "stage", "arm", "task", "seed", "status", "attempt"]].assign(
        epochs_done=trials["epochs_done"],
        epochs=trials["epochs"],
        progress=(done / total).clip(upper=1.0),
        score=trials["score"],
        elapsed_s=elapsed,
        remaining_s=remaining,
        due_at=_due(frames, seen, remaining, now),
        memory_request_bytes=trials["memory_request_bytes"],
        host_memory_peak_bytes=trials["host_memory_peak_bytes"],
        remark=_remarks(frames, seen, now),
    )
    shown_first = dict.fromkeys(("RUNNING", "FAILED", *STATUSES))
    rank = {name: i for i, name in enumerate(shown_first)}
    order = table["status"].map(rank).to_numpy()
    stages = table["stage"].map(_STAGES).fillna(3).to_numpy()
    return table.iloc[np.lexsort((stages, order))].reset_index(drop=True)


def counts(sweep: Source) -> pd.DataFrame:
    """One row a stage and one for "all": trials, waiting, running, done, stopped, failed,
    cancelled, progress (share of all epochs; a trial that ended has none left), remaining_s
    (of the trials now planned, at the present number at a time; "all" counts those of later stages
    too, and is what the driver says while there is one)."""
    frames = read(sweep)
    return counts_of(frames, status(frames))


def counts_of(frames: Frames, table: pd.DataFrame) -> pd.DataFrame:
    """`counts` from a `status` that was made already."""
    stages = sorted(table["stage"].unique(), key=lambda s: (_STAGES.get(s, 3), s))
    rows = [_count(stage, table[table["stage"] == stage]) for stage in stages]
    total = _count("all", table, unplanned(frames))
    driver = driver_of(frames.path)
    if driver is not None and driver.alive and driver.remaining_s is not None:
        total["remaining_s"] = driver.remaining_s  # it knows the costs of what is to come
    return pd.DataFrame([*rows, total])


def unplanned(frames: Frames) -> int:
    """Trials, at most, that the stages to come will plan."""
    if frames.finished:
        return 0
    # Of the events: `trials` may be a choice of them.
    events = {name: rows["payload"] for name, rows in frames.events.groupby("event")}
    plans = frames.events[frames.events["event"] == "planned"].drop_duplicates("trial_id")
    planned = Counter(payload.get("stage") for payload in plans["payload"])
    asked: dict[str, int] = {}
    for payload in (*events.get("sweep_started", ()), *events.get("extended", ())):
        asked = payload.get("trials") or {}
    last = frames.events[frames.events["event"] == "extended"].index.max()  # NaN: it never was
    over = {
        payload["stage"]
        for at, payload in events.get("stage_finished", pd.Series(dtype=object)).items()
        if not at < last
    }
    return sum(max(0, asked[stage] - planned[stage]) for stage in asked.keys() - over)


def read(sweep: Source) -> Frames:
    """The sweep, or several as one, with no more than a status needs."""
    if isinstance(sweep, Frames):
        return sweep
    if isinstance(sweep, (str, Path)):
        return load_heard(sweep)
    return joined([load_heard(path) for path in sweep])


def _count(stage: str, rows: pd.DataFrame, to_come: int = 0) -> dict[str, object]:
    state = rows["status"]
    active = state.isin(ACTIVE)
    total = rows["epochs"].where(active, rows["epochs_done"]).astype(float).sum()
    running = int((state == "RUNNING").sum())
    return {
        "stage": stage,
        "trials": len(rows),
        "waiting": int(state.isin(WAITING).sum()),
        "running": running,
        "done": int(state.isin(DONE).sum()),
        "stopped": int((state == "STOPPED").sum()),
        "failed": int((state == "FAILED").sum()),
        "cancelled": int((state == "CANCELLED").sum()),
        "progress": float(rows["epochs_done"].sum()) / total if total > 0 else math.nan,
        "remaining_s": _remaining(rows, active, running, to_come),
    }


def _remaining(rows: pd.DataFrame, active: pd.Series, running: int, to_come: int) -> float:
    """Seconds until all trials have ended, `to_come` of them not planned yet."""
    whole = (rows["elapsed_s"] / rows["epochs_done"].astype(float) * rows["epochs"]).astype(float)
    usual = float(whole[rows["epochs_done"] > 0].median())
    left = [*rows.loc[active, "remaining_s"].astype(float), *[usual] * to_come]
    if not left:
        return 0.0
    at_once = min(max(running, 1), len(left))
    longest = max(left) if not any(map(math.isnan, left)) else math.nan
    return max(math.fsum(left) / at_once, longest)


def _seen(frames: Frames) -> pd.Series:
    """When something was last heard of every trial; a note is not heard of it."""
    heard = frames.events[frames.events["event"] != "note"].groupby("trial_id")["time"].max()
    times = [heard.get(trial_id, pd.NaT) for trial_id in frames.trials["trial_id"]]
    return pd.Series(times, index=frames.trials.index, dtype="datetime64[ns, UTC]")


def _due(frames: Frames, seen: pd.Series, remaining: pd.Series, now: datetime) -> pd.Series:
    """When running trials will have ended: never, if nobody drives the sweep."""
    driver = driver_of(frames.path)
    at_work = (frames.trials["status"] == "RUNNING") & (driver is not None and driver.alive)
    due = (seen + pd.to_timedelta(remaining, unit="s")).clip(lower=pd.Timestamp(now))
    return due.where(at_work)


def _remarks(frames: Frames, seen: pd.Series, now: datetime) -> list[str]:
    memory = _memory(frames)
    silent = (pd.Timestamp(now) - seen).dt.total_seconds()
    rows = zip(frames.trials.to_dict("records"), silent, strict=True)
    return [_remark(row, memory.get(str(row["trial_id"]), []), gap) for row, gap in rows]


def _remark(row: dict[Hashable, Any], memory: list[tuple[float, float]], silent: float) -> str:
    parts: list[str] = []
    if row["status"] == "FAILED":
        parts.append(f"{row['failure_class']}: {last_line(row['failure_message'])}")
    if row["status"] == "RUNNING":
        if text := _growth(memory, row):
            parts.append(text)
        if silent > SILENT_S:
            parts.append(f"nothing heard for {silent / 60:.0f} min")
    attempt = row["attempt"]
    if isinstance(attempt, (int, float)) and attempt > 1:
        parts.append(f"attempt {int(attempt)}")
    return "; ".join(parts)


def _memory(frames: Frames) -> dict[str, list[tuple[float, float]]]:
    """(epoch, bytes of host memory) by trial, of its latest attempt, as its worker told."""
    told: dict[str, list[tuple[float, float]]] = {}
    rows = frames.events.loc[frames.events["event"].isin(["started", "progress"])]
    for event, trial_id, payload in zip(
        rows["event"], rows["trial_id"], rows["payload"], strict=True
    ):
        if event == "started":
            told[trial_id] = []
        elif (used := payload.get("host_memory_bytes")) and "epoch" in payload:
            told.setdefault(trial_id, []).append((payload["epoch"], used))
    return told


def _growth(memory: list[tuple[float, float]], row: dict[Hashable, Any]) -> str:
    """A warning if host memory, growing as in its second half so far, passes the request."""
    request, epochs = row["memory_request_bytes"], row["epochs"]
    late = memory[len(memory) // 2 :]
    if len(late) < 5 or not request > 0 or pd.isna(epochs):
        return ""
    x, y = np.array(late, dtype=float).T
    if x[-1] <= x[0]:
        return ""
    slope = np.polyfit(x - x[-1], y, 1)[0]
    if slope <= 0 or y[-1] + slope * (epochs - x[-1]) <= request:
        return ""
    full = x[-1] + max(request - y[-1], 0.0) / slope
    return (
        f"memory grows {slope / 1e6:,.1f} MB per epoch: reaches its {request / 1e9:,.1f} GB "
        f"at epoch {full:,.0f} of {epochs:,.0f}"
    )
