"""Where a run stands in a sweep that compares at several values: its cell, and what is its own.

Axes that the baseline has too (a number of epochs) split the comparison into cells, each with a
verdict of its own. Axes of the candidates alone (substeps) give configurations of one arm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from analysis.frames import Frames
from sweeps.core.store.schema import PARAM_PREFIX


def placed(frames: Frames) -> pd.DataFrame:
    """One row a trial: trial_id, `axes` (its values at shared axes) and `own` (at the others), as
    text; both are empty where a sweep has no axes or has tuned them."""
    trials = frames.trials[["trial_id"]]
    if frames.spec.get("kind") != "compare":
        return trials.assign(axes="", own="")
    axes = [axis for axis in frames.spec.get("space") or {} if _column(axis) in frames.trials]
    base = frames.trials[frames.trials["arm"] == frames.spec.get("baseline")]
    shared = [axis for axis in axes if base[_column(axis)].notna().any()]
    own = [axis for axis in axes if axis not in shared]
    return trials.assign(axes=_texts(frames.trials, shared), own=_texts(frames.trials, own))


def by_config(frames: Frames) -> dict[str, str]:
    """The place of every configuration on the axes of its sweep, as text; "" without axes."""
    rows = frames.trials[["trial_id", "config_id"]].merge(placed(frames), on="trial_id")
    texts = (rows["axes"] + " " + rows["own"]).str.strip()
    return dict(zip(rows["config_id"], texts, strict=True))


def place(task: object, cell: object) -> str:
    """A task and the cell on it, in words."""
    return f"{task} at {cell}" if cell else str(task)


def in_order(cell: str) -> list[tuple[str, float]]:
    """A sorting key by which epochs=5000 comes before epochs=20000."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", cell)
    numbers = [float(part) for part in parts[1::2]] + [0.0]
    return list(zip(parts[::2], numbers, strict=True))


def _column(axis: str) -> str:
    return PARAM_PREFIX + axis


def _texts(trials: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    rows = trials[[_column(axis) for axis in axes]].itertuples(index=False, name=None)
    texts = [
        " ".join(
            f"{axis.rpartition('.')[2]}={value:g}"
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            else f"{axis.rpartition('.')[2]}={value}"
            for axis, value in zip(axes, values, strict=True)
            if not pd.isna(value)
        )
        for values in rows
    ]
    return pd.Series(texts, trials.index, dtype="str")  # of text also where there is none
