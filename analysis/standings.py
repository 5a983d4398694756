"""Where every arm stands by itself, in sentences: its score, how steady it is, what it cost."""

from __future__ import annotations

import pandas as pd

from analysis.cells import by_config
from analysis.frames import Frames
from analysis.load import reads
from analysis.summarize import summarize
from analysis.verdict import MANY, interval, number

ALONE = "One arm: nothing is compared."


@reads
def standings(frames: Frames, most: int = MANY) -> list[str]:
    """A line for each configuration of the confirm stage that has a result, at most `most`."""
    table = summarize(frames)
    table = table[(table["stage"] == "confirm") & (table["n"] > 0)]
    at = by_config(frames)
    rows = (row for _, row in table.head(most).iterrows())
    lines = [_standing(row, at[row["config_id"]]) for row in rows]
    more = len(table) - most
    return [*lines, f"and {more} more, which stand in the report"] if more > 0 else lines


def _standing(row: pd.Series, at: str) -> str:
    name = f"{row['arm']} {at}".strip()
    bounds = interval(row["lo"], row["hi"], sign=False)
    score = " ".join(filter(None, [number(row["est"]), bounds]))
    device, hours = ("GPU-", row["gpu_hours"]) if row["gpu_hours"] else ("", row["wall_hours"])
    cost = f"{60 * hours:.2g} {device}minutes" if hours < 1 else f"{number(hours)} {device}hours"
    # Where returns can be negative there is no such share.
    steady = "" if pd.isna(row["final_peak"]) else f"final/peak {row['final_peak']:.2f}, "
    return (
        f"{name} on {row['task']}: {score} (n={row['n']}), {steady}"
        f"collapsed {row['collapsed']}/{row['n']}, {cost} a run"
    )


@reads
def is_alone(frames: Frames) -> bool:
    """Whether the sweep has one arm, so that nothing is compared."""
    return len(frames.spec.get("arms", ())) == 1
