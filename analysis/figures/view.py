"""What a figure is drawn from, and the form of an entry in the table of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from analysis.cells import in_order
from analysis.compare import arm_scores
from analysis.curves import axis_of
from analysis.load import Frames
from analysis.scores import WINDOW, trial_scores, usable


@dataclass(frozen=True)
class View:
    """A sweep, its comparison (as `compare` returns it) and how scores are made."""

    frames: Frames
    comparison: pd.DataFrame
    score: str = "return_mean"
    window: int = WINDOW
    scale: float | Mapping[str, float] | None = field(default=None)
    together: pd.DataFrame = field(default_factory=pd.DataFrame)  # as `overall` returns it

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a (trial, task), every stage."""
        return trial_scores(self.frames, score=self.score, window=self.window, scale=self.scale)

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """One row a (trial, task) of the confirm stage, with `label` and `counts`."""
        return arm_scores(self.frames, score=self.score, window=self.window, scale=self.scale)

    @cached_property
    def screened(self) -> pd.DataFrame:
        """Whole, stopped and diverged trials of the screen stage, with their `p_` parameters."""
        params = [name for name in self.frames.trials.columns if name.startswith("p_")]
        rows = self.scores[self.scores["stage"] == "screen"]
        stopped = (rows["status"] == "STOPPED") & rows["value"].notna()
        rows = rows[usable(rows) | stopped]
        return rows.merge(self.frames.trials[["trial_id", *params]], on="trial_id")

    @property
    def progress_label(self) -> str:
        """How far runs are, on an axis."""
        return {"env_steps": "environment steps"}.get(axis := axis_of(self.frames), axis)

    @property
    def score_label(self) -> str:
        """The score's name on an axis."""
        return {"return_mean": "return", "return_iqm": "return (IQM)"}.get(self.score, self.score)


def in_places(rows: pd.DataFrame) -> list[str]:
    """Every place of the rows, once: tasks by name, cells by the numbers in them."""
    keys = rows[["task", "cell", "place"]].drop_duplicates().itertuples(index=False, name=None)
    return [str(name) for _, _, name in sorted(keys, key=lambda key: (key[0], in_order(key[1])))]


@dataclass(frozen=True)
class FigureEntry:
    """A kind of figure: one for each of its `panels` (a task or a cell on it, a parameter; none if
    there is nothing to show)."""

    title: str
    caption: str
    panels: Callable[[View], list[str]]
    draw: Callable[[View, str], Figure]
