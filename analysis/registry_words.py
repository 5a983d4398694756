"""Cells of the registry in words: how it was done, against what, what came out, what was noted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.verdict import number
from sweeps.core.store.events import Note, Played


def comparison(arm: str, baseline: str | None) -> str | None:
    """What an arm is compared with; None where the sweep does not say."""
    if not baseline:
        return None
    return f"{arm} (baseline)" if arm == baseline else f"{arm} against {baseline}"


def methodology(spec: Mapping[str, Any]) -> str:
    """Kind, stages with their seeds, and presets of a sweep; "" if it did not say."""
    parts = [str(spec["kind"])] if spec.get("kind") else []
    screen, select, confirm = (spec.get(stage) or {} for stage in ("screen", "select", "confirm"))
    if screen:
        parts.append(f"screen {screen.get('trials')} trials on seed {screen.get('seed')}")
    if select:
        parts.append(f"select top {select.get('top')} on {seeds_text(select.get('seeds') or ())}")
    if confirm:
        parts.append(f"confirm on {seeds_text(confirm.get('seeds') or ())}")
    if spec.get("presets"):
        parts.append(f"presets {spec['presets']}")
    return "; ".join(parts)


def seeds_text(seeds: Sequence[int]) -> str:
    """seed 100, seeds 1000-1002, seeds 42, 123, 456."""
    if len(seeds) < 2:
        return f"seed {', '.join(map(str, seeds))}"
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]}-{seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def params_text(params: Mapping[str, Any]) -> str:
    """The values that make a trial: `world_model.substeps=4 wm_batch_size=256`."""
    return " ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in params.items()
    )


def outcome(row: Mapping[Any, Any], played: Played | None) -> str:
    """Score, peak, epochs and the latest evaluation of a trial; "" before its first epoch."""
    parts = []
    if not pd.isna(row["score"]):
        parts.append(f"score {number(row['score'])}")
    if not pd.isna(row["peak"]):
        parts.append(f"peak {number(row['peak'])}")
    if row["epochs_done"] and not pd.isna(row["epochs"]):
        parts.append(f"{row['epochs_done']:,.0f} of {row['epochs']:,.0f} epochs")
    text = ", ".join(parts)
    if played is None or played.return_mean is None:
        return text
    again = (
        f"{played.which} played again {number(played.return_mean)} "
        f"(IQM {_or_none(played.return_iqm)}, sd {_or_none(played.return_std)}, n={played.n})"
    )
    if len(played.tasks) > 1:
        each = (f"{task['task']} {_or_none(task['return_mean'])}" for task in played.tasks)
        again += f": {', '.join(each)}"
    return f"{text}; {again}" if text else again


def note_text(notes: Iterable[Note]) -> str:
    """Every note with its time, oldest first, each beginning a line of its own."""
    return "\n".join(f"{note.time[:16].replace('T', ' ')} UTC {note.text}" for note in notes)


def _or_none(value: float | None) -> str:
    return number(float("nan") if value is None else value)
