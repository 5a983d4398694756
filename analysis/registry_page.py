"""The registry as Markdown, and as it reads on a terminal."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pandas as pd

from analysis.status_page import duration

NOTE_CHARACTERS = 60
_ABOUT = {
    "goal": "Goal",
    "methodology": "Methodology",
    "job_id": "Job",
    "array_index": "Array index",
    "gpu": "GPU",
    "wandb_group": "W&B group",
    "path": "Folder",
    "sweep_notes": "Notes",
}


def markdown(table: pd.DataFrame) -> str:
    """A heading, what its trials share, and a table of them for every run of a registry."""
    if table.empty:
        return "No trials yet."
    runs = (table[table["path"] == path] for path in table["path"].unique())
    return "\n\n".join(part for run in runs for part in _run(run))


def registry_text(table: pd.DataFrame) -> str:
    """A line a trial of a registry."""
    if table.empty:
        return "no trials yet"
    shown = pd.DataFrame(
        {
            "planned (UTC)": [_time(time) for time in table["planned_at"]],
            "sweep": table["sweep"] + "/" + table["run"],
            "stage": table["stage"],
            "trial": table["trial_id"],
            "comparison": table["comparison"].fillna(table["arm"]),
            "task": table["task"],
            "seed": table["seed"],
            "status": table["status"],
            "runtime": table["runtime_s"].astype(float).map(duration),
            "outcome": table["outcome"],
            "failure": [_failure(row) for row in table.to_dict("records")],
            "notes": [_short(_plain(text)) for text in table["notes"]],
        }
    )
    noted = table.dropna(subset=["sweep_notes"]).drop_duplicates("path").to_dict("records")
    notes = [f"note on {row['sweep']}/{row['run']}: {_plain(row['sweep_notes'])}" for row in noted]
    return "\n".join([shown.to_string(index=False), *notes])


def _run(run: pd.DataFrame) -> Iterator[str]:
    first = run.iloc[0]
    yield f"## {_cell(first['sweep'])} {_cell(first['run'])}"
    about = [(title, _each(run[name])) for name, title in _ABOUT.items()]
    yield "\n".join(f"- {title}: {text}" for title, text in about if text)
    rows = [_trial(row) for row in run.to_dict("records")]
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(row.values()) for row in rows]
    yield "\n".join(f"| {line} |" for line in lines)


def _trial(row: dict) -> dict[str, str]:
    """The cells of a trial, all text."""
    places = [row["best_checkpoint"], row["last_checkpoint"]]
    cells = {
        "planned (UTC)": _time(row["planned_at"]),
        "ended (UTC)": _time(row["ended_at"]),
        "stage": row["stage"],
        "comparison": row["arm"] if pd.isna(row["comparison"]) else row["comparison"],
        "config": row["config_id"],
        "parameters": row["params"],
        "task": row["task"],
        "seed": row["seed"],
        "status": row["status"],
        "attempts": row["attempts"],
        "runtime": duration(float(row["runtime_s"])),
        "outcome": row["outcome"],
        "failure": _failure(row),
        "checkpoints": "\n".join(place for place in places if isinstance(place, str)),
        "W&B": row["wandb_link"],
        "notes": row["notes"],
    }
    return {name: _cell(value) for name, value in cells.items()}


def _each(values: pd.Series) -> str:
    """What the trials of a run have in common, or all that they have."""
    return ", ".join(_cell(value) for value in dict.fromkeys(values.dropna()))


def _failure(row: dict) -> str:
    if pd.isna(row["failure_class"]):
        return ""
    return f"{row['failure_class']}: {_plain(row['cause'])}"


def _cell(value: object) -> str:
    """Text that stays within its cell of a Markdown table, and shows as it was written."""
    text = html.escape(_plain(value), quote=False)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def _plain(value: object) -> str:
    """A value as text, "" if it is missing; what would steer a terminal is left out."""
    if not isinstance(value, str):
        return "" if pd.isna(value) else str(value)  # type: ignore[arg-type]
    return "".join(c for c in value.strip() if c.isprintable() or c == "\n")


def _short(text: str) -> str:
    line = " / ".join(text.splitlines())
    return line if len(line) <= NOTE_CHARACTERS else f"{line[: NOTE_CHARACTERS - 1]}…"


def _time(time: pd.Timestamp) -> str:
    return "" if pd.isna(time) else f"{time:%Y-%m-%d %H:%M}"
