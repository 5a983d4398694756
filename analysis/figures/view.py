"""What a figure is drawn from, and the form of an entry in the table of figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from analysis.aggregate import aggregate, performance_profile
from analysis.cells import in_order
from analysis.compare import arm_scores
from analysis.cost import cost
from analysis.curves import axis_of
from analysis.frames import Frames
from analysis.scores import WINDOW, trial_scores, usable
from sweeps.core.reference.scales import scales


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

    @cached_property
    def aggregates(self) -> pd.DataFrame:
        """`aggregate` over the tasks; empty for one task, or where one has no scale."""
        return self._over_tasks(aggregate)

    @cached_property
    def profiles(self) -> pd.DataFrame:
        """`performance_profile` over the tasks; empty as `aggregates`."""
        return self._over_tasks(performance_profile)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """`cost` of the confirm stage."""
        return cost(self.frames, score=self.score, window=self.window, scale=self.scale)

    @property
    def hours(self) -> str:
        """The axis of cost: "gpu_hours" where every trial had a GPU, else "wall_hours"."""
        gpus = self.frames.trials["num_gpus"].fillna(0.0)
        return "gpu_hours" if len(gpus) and (gpus > 0).all() else "wall_hours"

    @property
    def hours_label(self) -> str:
        """The axis of cost, in words."""
        return "GPU-hours" if self.hours == "gpu_hours" else "wall hours"

    def _over_tasks(self, function: Callable[..., pd.DataFrame]) -> pd.DataFrame:
        tasks = set(self.confirmed.loc[self.confirmed["counts"], "task"])
        if len(tasks) < 2 or not tasks <= set(scales()):
            return pd.DataFrame()
        return function(self.frames, score=self.score, window=self.window)

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


#: The parts of a report that figures stand in.
Part = Literal[
    "comparison",
    "learning",
    "together",
    "stability",
    "cost",
    "hyperparameters",
    "screening",
    "resources",
    "timeline",
]


#: The panel of a sweep that has no cells.
EVERYWHERE = "all tasks"


def cell_panels(table: pd.DataFrame) -> list[str]:
    """A panel for every cell of a table."""
    return [] if table.empty else [str(cell) or EVERYWHERE for cell in table["cell"].unique()]


def of_cell(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a panel that `cell_panels` named."""
    return table[table["cell"] == ("" if name == EVERYWHERE else name)]


@dataclass(frozen=True)
class FigureEntry:
    """A kind of figure: one for each of its `panels` (a task or a cell on it, a parameter; none if
    there is nothing to show). `part` is the report's that it stands in."""

    title: str
    caption: str
    panels: Callable[[View], list[str]]
    draw: Callable[[View, str], Figure]
    part: Part
    in_paper: bool = False
