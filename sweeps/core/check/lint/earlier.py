"""Earlier sweeps in the same results folder, as far as a lint wants to know them.

Read are `sweep.yaml` and the events, never a series, and of a few runs only.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweeps.core.protocol.plan import Plan
from sweeps.core.reference.published import comparable
from sweeps.core.store.compact import read_tables, trials_heard
from sweeps.core.store.events import event_files, fold, read_events
from sweeps.core.store.schema import DONE_STATUSES

SPEC = "sweep.yaml"
#: Of so many runs the spec is read, and of so many that share a task the trials.
MOST_SPECS, MOST_RUNS = 100, 20
#: Events beyond this would take seconds to read.
MOST_BYTES = 64 * 2**20
#: The one in C, where PyYAML has it, takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TUNING_STAGES = ("screen", "select")


@dataclass(frozen=True)
class EarlierTrial:
    """A trial that came to its end; `budget` in environment steps, offline in epochs."""

    run: str
    config_id: str
    seed: int
    task: str
    mode: str
    world_model: str
    policy: str
    budget: int
    score: float

    def like(self, task: str, mode: str, budget: int) -> bool:
        """Whether its score compares with that of a run of this task, mode and budget."""
        return (self.task, self.mode) == (task, mode) and comparable(self.budget, budget)


@dataclass(frozen=True)
class EarlierRun:
    """One run of a sweep: on which tasks, what it tuned on, its confirmed trials."""

    name: str  # sweep/run
    tasks: tuple[str, ...]
    tuning_seeds: frozenset[int]
    trials: tuple[EarlierTrial, ...]


def earlier_runs(
    results: Path, tasks: Collection[str], without: Path | None = None
) -> list[EarlierRun]:
    """The newest runs below `results` on any of `tasks`, the newest first.

    A folder that cannot be read says nothing; it is no reason to stop. `without` is the run folder
    that is resumed.
    """
    specs = sorted(results.glob(f"*/*/{SPEC}"), key=lambda path: path.parent.name, reverse=True)
    known = None if without is None else without.resolve()
    folders = (p.parent for p in specs[:MOST_SPECS] if not p.parent.is_symlink())
    found: list[EarlierRun] = []
    for folder in folders:
        if folder.resolve() == known:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):
                run = _read(folder, tasks)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not this sweep's fault
            continue
        if run is not None:
            found.append(run)
        if len(found) >= MOST_RUNS:
            break
    return found


def _read(folder: Path, tasks: Collection[str]) -> EarlierRun | None:
    spec = yaml.load((folder / SPEC).read_text(encoding="utf-8"), Loader=_LOADER)
    ran = tuple(map(str, spec["tasks"]))
    if not set(ran) & set(tasks):
        return None
    return EarlierRun(
        name=f"{folder.parent.name}/{folder.name}",
        tasks=ran,
        tuning_seeds=frozenset(_tuning_seeds(spec)),
        trials=tuple(_trials(folder)),
    )


def _tuning_seeds(spec: Mapping[str, Any]) -> Iterator[int]:
    for stage in TUNING_STAGES:
        values = spec.get(stage) or {}
        yield from values.get("seeds", [values["seed"]] if "seed" in values else [])


def _trials(folder: Path) -> Iterator[EarlierTrial]:
    """The confirmed trials, of the events or, where only the tables were kept, of those."""
    if sum(path.stat().st_size for path in event_files(folder)) > MOST_BYTES:
        return
    state = fold(read_events(folder, heartbeats=1))
    table = trials_heard(state) if state.trials else read_tables(folder, kinds=("trials",)).trials
    for row in table.to_pylist():
        score = row["score"]
        if row["stage"] != "confirm" or row["status"] not in DONE_STATUSES:
            continue
        if score is None or not math.isfinite(score):
            continue
        config = json.loads(row["config_json"])
        online = config["mode"] == "online"
        yield EarlierTrial(
            run=folder.name,
            config_id=row["config_id"],
            seed=row["seed"],
            task=row["task"],
            mode=config["mode"],
            world_model=config["world_model"]["kind"],
            policy=config["policy"]["kind"],
            budget=row["env_steps"] if online else row["epochs_done"],
            score=score,
        )


def comparable_trials(earlier: Iterable[EarlierRun], plan: Plan) -> list[EarlierTrial]:
    """Trials whose scores compare with those of a planned run, each configuration and seed once."""
    found: dict[tuple[str, int], EarlierTrial] = {}
    for run in earlier:
        for trial in run.trials:
            if trial.like(plan.config.task, plan.config.mode, plan.budget):
                found.setdefault((trial.config_id, trial.seed), trial)
    return list(found.values())


def those_of(trials: Iterable[EarlierTrial], plan: Plan) -> list[EarlierTrial]:
    """Trials of just this configuration; where there are none, of its kinds of networks."""
    kinds = plan.config.world_model.kind, plan.config.policy.kind
    alike = [trial for trial in trials if (trial.world_model, trial.policy) == kinds]
    return [trial for trial in alike if trial.config_id == plan.config_id] or alike
