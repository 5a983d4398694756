"""Where a sweep stands: works on running ones, from what is on disk."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.load import Frames, load
from analysis.names import InputError
from analysis.scores import DONE
from analysis.summarize import last_line
from sweeps.core.schema import STATUSES

WAITING = ("PENDING", "QUEUED", "INTERRUPTED")
SILENT_S = 900.0
_STAGES = {"screen": 0, "select": 1, "confirm": 2}
_HOST = "memory/host_bytes"
_CLOCK = "time/wall_s"


def status(sweep: Frames | str | Path, *, now: datetime | None = None) -> pd.DataFrame:
    """One row a trial, those at work first: trial_id, stage, arm, task, seed, status, attempt,
    epochs_done, epochs, progress (0..1), score, elapsed_s, remaining_s, memory_request_bytes,
    host_memory_peak_bytes, remark.

    remaining_s extrapolates the trial's own speed, or the median speed of its sweep before it has
    one. The remark says why a trial failed, that its memory will outgrow its request, that nothing
    was heard of it for 15 minutes, or that it was started again.
    """
    frames = read(sweep)
    now = now or datetime.now(UTC)
    trials = frames.trials
    elapsed = _elapsed(frames)
    done, total = trials["epochs_done"].astype(float), trials["epochs"].astype(float)
    pace = (elapsed / done).where(done > 0)
    usual = pace.median()
    left = (total - done).clip(lower=0)
    active = trials["status"].isin([*WAITING, "RUNNING"])
    table = trials[["trial_id", "stage", "arm", "task", "seed", "status", "attempt"]].assign(
        epochs_done=trials["epochs_done"],
        epochs=trials["epochs"],
        progress=(done / total).clip(upper=1.0),
        score=trials["score"],
        elapsed_s=elapsed,
        remaining_s=(left * pace.fillna(usual)).where(active),
        memory_request_bytes=trials["memory_request_bytes"],
        host_memory_peak_bytes=trials["host_memory_peak_bytes"],
        remark=_remarks(frames, now),
    )
    shown_first = dict.fromkeys(("RUNNING", "FAILED", *STATUSES))
    rank = {name: i for i, name in enumerate(shown_first)}
    order = table["status"].map(rank).to_numpy()
    stages = table["stage"].map(_STAGES).fillna(3).to_numpy()
    return table.iloc[np.lexsort((stages, order))].reset_index(drop=True)


def counts(sweep: Frames | str | Path) -> pd.DataFrame:
    """One row a stage and one for "all": trials, waiting, running, done, stopped, failed,
    cancelled, progress (share of all epochs; a trial that ended has none left), remaining_s
    (of the trials now planned, at the present number at a time)."""
    frames = read(sweep)
    table = status(frames)
    stages = sorted(table["stage"].unique(), key=lambda s: (_STAGES.get(s, 3), s))
    rows = [_count(stage, table[table["stage"] == stage]) for stage in stages]
    return pd.DataFrame([*rows, _count("all", table)])


def read(sweep: Frames | str | Path) -> Frames:
    """The sweep with no more of its reports than a status needs."""
    if isinstance(sweep, Frames):
        return sweep
    try:
        return load(sweep, columns=[_HOST, _CLOCK])
    except InputError:
        return load(sweep, columns=[])


def _count(stage: str, rows: pd.DataFrame) -> dict[str, object]:
    state = rows["status"]
    active = state.isin([*WAITING, "RUNNING"])
    total = rows["epochs"].where(active, rows["epochs_done"]).astype(float).sum()
    running = int((state == "RUNNING").sum())
    left = rows.loc[active, "remaining_s"].to_numpy(float)
    at_once = min(max(running, 1), max(len(left), 1))
    longest = float(left.max()) if len(left) and not np.isnan(left).any() else math.nan
    remaining = max(float(left.sum()) / at_once, longest) if len(left) else 0.0
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
        "remaining_s": remaining,
    }


def _elapsed(frames: Frames) -> pd.Series:
    """Seconds of training by trial: the last the worker wrote, else what the driver heard."""
    heard = frames.trials["wall_time_s"].astype(float)
    if _CLOCK not in frames.reports.columns:
        return heard
    written = frames.reports.groupby("trial_id")[_CLOCK].max()
    return frames.trials["trial_id"].map(written).astype(float).fillna(heard)


def _remarks(frames: Frames, now: datetime) -> list[str]:
    memory = _memory(frames)
    seen = frames.events.groupby("trial_id")["time"].max()
    return [_remark(row, memory, seen, now) for _, row in frames.trials.iterrows()]


def _remark(row: pd.Series, memory: dict[str, pd.DataFrame], seen: pd.Series, now: datetime) -> str:
    parts: list[str] = []
    trial_id = str(row["trial_id"])
    if row["status"] == "FAILED":
        parts.append(f"{row['failure_class']}: {last_line(row['failure_message'])}")
    if row["status"] == "RUNNING":
        if trial_id in memory and (text := _growth(memory[trial_id], row)):
            parts.append(text)
        if trial_id in seen.index:
            silent = (pd.Timestamp(now) - seen[trial_id]).total_seconds()
            if silent > SILENT_S:
                parts.append(f"nothing heard for {silent / 60:.0f} min")
    attempt = row["attempt"]
    if isinstance(attempt, (int, float)) and attempt > 1:
        parts.append(f"attempt {int(attempt)}")
    return "; ".join(parts)


def _memory(frames: Frames) -> dict[str, pd.DataFrame]:
    """Epoch and host memory by trial, where the reports have it."""
    if _HOST not in frames.reports.columns:
        return {}
    rows = frames.reports.dropna(subset=[_HOST])[["trial_id", "epoch", _HOST]]
    return {str(trial_id): group for trial_id, group in rows.groupby("trial_id")}


def _growth(rows: pd.DataFrame, row: pd.Series) -> str:
    """A warning if host memory, growing as in its second half so far, passes the request."""
    request, epochs = row["memory_request_bytes"], row["epochs"]
    if not isinstance(request, (int, float)) or not isinstance(epochs, (int, float)):
        return ""
    late = rows.iloc[len(rows) // 2 :]
    if len(late) < 5 or not request > 0:
        return ""
    x, y = late["epoch"].to_numpy(float), late[_HOST].to_numpy(float)
    slope = np.polyfit(x - x[-1], y, 1)[0]
    if slope <= 0 or y[-1] + slope * (epochs - x[-1]) <= request:
        return ""
    full = x[-1] + max(request - y[-1], 0.0) / slope
    return (
        f"memory grows {slope / 1e6:,.1f} MB per epoch: reaches its {request / 1e9:,.1f} GB "
        f"at epoch {full:,.0f} of {epochs:,.0f}"
    )
