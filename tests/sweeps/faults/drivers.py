"""A driver without Ray: the real stages, rungs, study and events over made-up scores."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import yaml

from sweeps.core.definition.axes import Range
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.driver.resume import ENVIRONMENT, SPEC
from sweeps.core.protocol.judge import Judge
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.stages import TuneStages, enumerate_or
from sweeps.core.protocol.study import Study
from sweeps.core.store.events import EventLog, read_events
from sweeps.core.store.folder import create_run_folder
from sweeps.core.store.state import SweepState, fold
from sweeps.core.worker.jobs import make_job
from tests.sweeps.faults.steps import Breakage, Steps
from tests.sweeps.tiny import PLAN

EPOCHS = 20
SMALL = dataclasses.replace(
    PLAN,
    tasks=("point-mass",),
    space={"world_model.substeps": (1, 2, 4), "epochs": (EPOCHS,)},
    screen=Screen(trials=3, rungs=(0.5,)),
    select=Select(top=2, seeds=(100,)),
    confirm=Confirm(seeds=(1000, 1001), episodes=3),
)
#: A space that Optuna searches, with rungs.
SEARCHED = dataclasses.replace(
    SMALL,
    space={
        "optim.wm_lr": Range(1e-4, 1e-2, log=True),
        "wm_updates": Range(1, 8, integer=True),
        "epochs": (EPOCHS,),
    },
    screen=Screen(trials=12, rungs=(0.25, 0.5)),
)


def own(root: Path) -> Path:
    """A new run folder of `SMALL` that nobody owns any longer."""
    folder = create_run_folder(root / "results", SMALL.name)
    (folder.path / SPEC).write_text(yaml.safe_dump(SMALL.to_dict(), sort_keys=False))
    (folder.path / ENVIRONMENT).write_text("{}")
    folder.release()
    return folder.path


def drive(folder: Path, sweep: Tune, breakage: Breakage) -> list[str]:
    """Run the sweep from where it is to its end, one trial after another; the steps that took."""
    steps = Steps(folder, breakage)
    steps.install()
    known = read_events(folder)
    with EventLog(folder, "driver") as log:
        if known:
            log.append("resumed")
        else:
            log.append("sweep_started", spec=sweep.to_dict(), trials=sweep.planned_trials())
        recorder = Recorder(log, read_events(folder))
        make = enumerate_or(lambda sweep, known: Study(folder, sweep, known))
        stages = TuneStages(sweep, recorder, make)
        judge = Judge(stages.brackets, recorder)
        for plan in stages.plans():
            assert plan is not None
            _play(plan, folder, recorder, judge)
        recorder.sweep("sweep_finished", exit_code=0)
    return steps.names


def _play(plan: Plan, folder: Path, recorder: Recorder, judge: Judge) -> None:
    """A trial as the driver hears of it, in the order in which Tune tells."""
    job = make_job(plan, folder, "toy", {}).to_dict()
    attempt = recorder.state.trials[plan.trial_id].attempt + 1
    recorder.queued(plan)
    recorder.started(plan.trial_id, {"attempt": attempt, "epoch": 0, "env_steps": 0})
    for quarter in range(1, 5):
        result: dict[str, Any] = {
            "attempt": attempt,
            "epoch": quarter * EPOCHS // 4,
            "env_steps": quarter * plan.budget // 4,
            "score": quarter * _worth(plan),
            "kind": "evaluated",
        }
        stays = judge.goes_on(job, result)
        recorder.heard(plan.trial_id, result)
        if not stays:
            recorder.left(plan.trial_id)
            return
    recorder.heard(plan.trial_id, result | {"outcome": "completed"})


def _worth(plan: Plan) -> float:
    config = plan.config
    substeps = getattr(config.world_model, "substeps", 0)
    rate = abs(math.log10(config.optim.wm_lr) + 3.0)
    return 10.0 - rate - 0.1 * config.wm_updates + substeps + 0.001 * (config.seed % 7)


def decided(folder: Path) -> dict[str, Any]:
    """All that a sweep chose: its trials with their settings and ends, its rungs, its stages."""
    state: SweepState = fold(read_events(folder))
    return {
        "trials": [
            (t.trial_id, t.stage, t.arm, t.seed, t.params, t.status, t.score)
            for t in state.trials.values()
        ],
        "rungs": [
            (r.trial_id, r.bracket, r.milestone, r.score, r.cutoff, r.decision) for r in state.rungs
        ],
        "chosen": {stage: d["config_ids"] for stage, d in state.decisions.items()},
    }
