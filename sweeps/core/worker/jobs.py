"""What the driver hands to a worker; plain values only, as Tune copies and stores them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowpwm.config import to_dict
from sweeps.core.protocol.plan import Plan


@dataclass(frozen=True)
class Job:
    """One trial; paths are absolute, since a worker's current folder is Tune's."""

    trial_id: str
    folder: str
    config_json: str
    arm: str
    stage: str
    sweep: str
    trackers: dict[str, str]  # the mode of each that is asked for
    epochs: int
    progress: str  # the key of a result that says how far it is
    budget: int  # of `progress`
    resources: dict[str, float | str]
    # Other seeds, trained in the same process: each with its own trial_id and config_json.
    fellows: list[dict[str, str]] = field(default_factory=list)

    def each(self) -> list[Job]:
        """A job for every trial of the process."""
        own = {"trial_id": self.trial_id, "config_json": self.config_json}
        return [dataclasses.replace(self, **one, fellows=[]) for one in (own, *self.fellows)]

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration, as `flowpwm.compose.from_dict` reads it."""
        return json.loads(self.config_json)

    @property
    def folder_path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """Tune's `config`."""
        return dataclasses.asdict(self)


def make_job(plan: Plan, folder: Path, sweep: str, trackers: Mapping[str, str]) -> Job:
    """The job of a planned trial in the run folder `folder`."""
    return Job(
        trial_id=plan.trial_id,
        folder=str(folder.resolve()),
        config_json=json.dumps(to_dict(plan.config)),
        arm=plan.arm,
        stage=plan.stage,
        sweep=sweep,
        trackers=dict(trackers),
        epochs=plan.config.epochs,
        progress=plan.progress,
        budget=plan.budget,
        resources=plan.resources.to_dict(),
        fellows=[
            {"trial_id": fellow.trial_id, "config_json": json.dumps(to_dict(fellow.config))}
            for fellow in plan.fellows
        ],
    )
