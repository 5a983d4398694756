"""A sweep as pandas: what every function of the package takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.core.store.events import Extension

#: The stage of runs that tested a winner before another one was selected.
SUPERSEDED = "superseded"
#: What a notebook shows of a trial.
_SHOWN = ["trial_id", "stage", "arm", "task", "seed", "status", "epochs_done", "epochs", "score"]


@dataclass(frozen=True)
class Frames:
    """A sweep, or several as one, as pandas.

    trials: one row a (config, seed), parameters as `p_<dotted key>`. reports, evals: one row a
    (trial, epoch), of the latest attempt. events: time, event, trial_id, writer, seq and the rest
    as the dict `payload`. spec: the sweep's own description, as it was extended by `extensions`.
    winners: the configurations that were selected, one after another. Times are UTC.

    Where an extension selected another winner, runs on the test seeds of the one before are of the
    stage "superseded": they had been looked at when this one was chosen.

    members: the names of the sweeps, where there are several; `path` is then what they lie in.
    """

    trials: pd.DataFrame
    reports: pd.DataFrame
    evals: pd.DataFrame
    events: pd.DataFrame
    path: Path
    spec: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = False
    extensions: Sequence[Extension] = ()
    winners: Sequence[str] = ()
    members: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Sweep and run, as in `results/<sweep>/<run-id>`; of several the names of all."""
        if self.members:
            return f"{len(self.members)} sweeps: {', '.join(self.members)}"
        return f"{self.path.parent.name}/{self.path.name}"

    def _repr_html_(self) -> str:
        state = "finished" if self.finished else "not finished"
        head = f"<p><b>{self.name}</b>: {len(self.trials)} trials, {state}</p>"
        counts = self.trials.groupby(["stage", "status"], as_index=False).size()
        return head + _html(counts) + _html(self.trials[_SHOWN].head(50))


def _html(table: pd.DataFrame) -> str:
    return table.to_html(index=False, na_rep="–", float_format="{:.4g}".format, border=0)
