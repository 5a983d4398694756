"""Several sweeps as one: an arm of one beside an arm of another, or more seeds of the same."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames import Frames

#: What makes two trials the same computation, whose results are not two samples.
_SAME = ["config_id", "task", "seed", "stage"]


def joined(parts: Sequence[Frames]) -> Frames:
    """The sweeps in one `Frames`: trial ids get the name of their sweep in front, trials a column
    `sweep`. Of a configuration that ran on the same seed in several of them the last with a score
    counts, with a warning: the same seed gives the same run. What the sweeps do not agree on is not
    in `spec`.
    """
    parts = list({part.path: part for part in parts}.values())  # one that is named twice is one
    if len(parts) == 1:
        return parts[0]
    home = Path(os.path.commonpath([part.path for part in parts]))
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        names = [part.path.relative_to(home).as_posix() for part in parts]
    named = [_named(part, name) for part, name in zip(parts, names, strict=True)]
    trials = pd.concat([part.trials for part in named], ignore_index=True)
    trials = trials.iloc[_distinct(trials)].reset_index(drop=True)
    kept = set(trials["trial_id"])

    def rows(tables: list[pd.DataFrame]) -> pd.DataFrame:
        table = pd.concat(tables, ignore_index=True)
        return table[table["trial_id"].isin(kept)].reset_index(drop=True)

    return Frames(
        trials=trials,
        reports=rows([part.reports for part in named]),
        evals=rows([part.evals for part in named]),
        events=pd.concat([part.events for part in named], ignore_index=True),
        path=home,
        spec=_agreed([dict(part.spec) for part in parts]),
        finished=all(part.finished for part in parts),
        extensions=[extension for part in parts for extension in part.extensions],
        winners=list(dict.fromkeys(winner for part in parts for winner in part.winners)),
        members=names,
    )


def _named(part: Frames, name: str) -> Frames:
    def named(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(trial_id=name + "/" + table["trial_id"])

    return replace(
        part,
        trials=named(part.trials).assign(sweep=name),
        reports=named(part.reports),
        evals=named(part.evals),
        events=named(part.events),
    )


def _distinct(trials: pd.DataFrame) -> list[int]:
    """The places of the trials that count, in their order."""
    ranked = trials.assign(scored=trials["score"].notna(), at=range(len(trials)))
    last = ranked.sort_values(["scored", "at"]).drop_duplicates(_SAME, keep="last")
    if n := len(trials) - len(last):
        warnings.warn(
            f"{n} trials ran in several of the sweeps (same configuration and seed); each counts "
            "once",
            stacklevel=4,
        )
    return sorted(last["at"])


def _agreed(specs: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = specs
    return {key: value for key, value in first.items() if all(o.get(key) == value for o in others)}
