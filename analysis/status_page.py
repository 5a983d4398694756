"""Where a sweep stands, as it reads on a terminal."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from analysis.frames import Frames
from analysis.outlook import row_of
from analysis.status import counts_of
from analysis.verdict import number


def status_text(frames: Frames, table: pd.DataFrame, *, now: datetime | None = None) -> str:
    """Head, counts and a line a trial, of one run and its `status`."""
    if table.empty:
        return "no trials yet"
    return "\n\n".join([_head(frames, table, now), _stages(frames, table), _trials(table)])


def overview_text(table: pd.DataFrame, *, now: datetime | None = None) -> str:
    """A line a run of an `overview`."""
    if table.empty:
        return "no sweeps yet"
    counted = ("trials", "waiting", "running", "done", "stopped", "failed")
    shown = table[["sweep", "run", "state", *counted]].assign(
        failures=table["failures"].replace("", "–"),
        progress=table["progress"].map(_percent),
        left=table["remaining_s"].map(duration),
        next=[clock(time, now) for time in table["next_at"]],
        ends=[clock(time, now) for time in table["ends_at"]],
    )
    return shown.to_string(index=False)


def clock(time: datetime, now: datetime | None = None) -> str:
    """A time on the clock of this machine, with its day unless that is today; – for none."""
    if pd.isna(time):
        return "–"
    local = pd.Timestamp(time).floor("s").to_pydatetime().astimezone()  # warns of nanoseconds
    today = (now or datetime.now().astimezone()).astimezone().date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """1h05, 3m20; – if unknown."""
    if math.isnan(seconds):
        return "–"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}h{m:02d}" if hours else f"{m}m{s:02d}"


def _head(frames: Frames, table: pd.DataFrame, now: datetime | None) -> str:
    row = row_of(frames, table, now=now)
    lines = [f"{frames.name}: {row['state']}"]
    if row["driver"]:
        lines.append(f"driver  {row['driver']}")
    if not pd.isna(row["ends_at"]):
        waiting = "" if pd.isna(row["next_at"]) else f"next result {clock(row['next_at'], now)}, "
        lines.append(f"due     {waiting}sweep {clock(row['ends_at'], now)}")
    if row["failures"]:
        lines.append(f"failed  {row['failures']}")
    return "\n".join(lines)


def _stages(frames: Frames, table: pd.DataFrame) -> str:
    stages = counts_of(frames, table)
    shown = stages.assign(
        progress=stages["progress"].map(_percent), left=stages["remaining_s"].map(duration)
    )
    return shown.drop(columns="remaining_s").to_string(index=False)


def _trials(table: pd.DataFrame) -> str:
    shown = table[["trial_id", "stage", "arm", "task", "seed", "status"]].assign(
        epochs=[
            f"{done:,.0f}/{total:,.0f}"
            for done, total in zip(table["epochs_done"], table["epochs"], strict=True)
        ],
        progress=table["progress"].map(_percent),
        score=table["score"].map(number),
        elapsed=table["elapsed_s"].map(duration),
        left=table["remaining_s"].map(duration),
        peak=table["host_memory_peak_bytes"].map(_gigabytes),
        asked=table["memory_request_bytes"].map(_gigabytes),
        remark=table["remark"],
    )
    return shown.to_string(index=False)


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.0%}"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if not pd.isna(size) else "–"
