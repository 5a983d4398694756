"""A trial in its worker: how it ends. (What it writes is seen in whole sweeps.)"""

from pathlib import Path
from typing import Any

import pytest

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.datasets.errors import DatasetError
from flowpwm.report import METRICS
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.store.series import SeriesWriter
from sweeps.core.worker.failures import failure_class
from sweeps.core.worker.jobs import make_job
from sweeps.core.worker.stop_signal import StopSignal
from sweeps.core.worker.trainable import Attempt, run_job
from sweeps.core.worker.triallog import TrialLog
from tests.sweeps.tiny import RUN, asked

# Rates so small that nothing changes: every evaluation is like the first.
STILL = [f"optim.{name}=1e-30" for name in ("wm_lr", "actor_lr", "critic_lr", "final_lr")]


def ended(
    plan: Plan, folder: Path, stop_after: int, runs: int = 1, waited_s: float = 0.0
) -> dict[str, Any]:
    """The last result of a trial that is asked to stop after so many epochs."""
    job = make_job(plan, folder, "toy", {})
    state = TrainState.start(plan.config)
    with TrialLog(folder, job.trial_id, 1) as log:
        attempt = Attempt(job, 1, StopSignal(folder / "stop"), log, state, runs=runs)
        attempt.began -= waited_s
        dtypes = {name: metric.dtype for name, metric in METRICS.items()}
        with SeriesWriter(folder, job.trial_id, 1, dtypes=dtypes) as attempt.series:
            for _ in train(state, lambda: state.epoch >= stop_after):
                pass
            result = attempt.finish(state)
    state.close()
    assert checkpoint.exists(folder / "checkpoints" / job.trial_id / "last")
    return result


def test_a_process_of_several_runs_charges_each_its_share(tmp_path: Path) -> None:
    plan = make_plan(asked(*RUN, "epochs=2"), "mlp", "confirm", {"task": "point-mass"}, 42)
    result = ended(plan, tmp_path, stop_after=2, runs=4, waited_s=4000.0)
    assert result["wall_time_s"] == pytest.approx(1000.0, rel=0.05)


@pytest.mark.parametrize(
    ("words", "stop_after", "outcome", "epoch"),
    [
        (["patience=2"], 99, "completed", 6),  # evaluations at 2, 4 and 6 are the same
        (["patience=0"], 99, "completed", 20),
        (["patience=2"], 5, "interrupted", 5),
    ],
)
def test_a_run_without_progress_is_completed_and_a_stopped_one_is_not(
    words: list[str], stop_after: int, outcome: str, epoch: int, tmp_path: Path
) -> None:
    sizes = [word for word in RUN if not word.startswith("evaluation.every")]
    sweep = asked(*sizes, *STILL, "epochs=20", "evaluation.every=2", *words)
    plan = make_plan(sweep, "mlp", "confirm", {"task": "point-mass"}, 42)
    result = ended(plan, tmp_path, stop_after)
    assert (result["outcome"], result["epoch"]) == (outcome, epoch)
    early = outcome == "completed" and epoch < 20
    assert result.get("message") == ("no better score in 2 evaluations" if early else None)


def test_a_place_without_room_for_a_log_fails_the_trial_for_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    (tmp_path / "events").mkdir()
    monkeypatch.setattr("sweeps.core.worker.trainable.TrialLog", refuse)
    job = make_job(
        make_plan(asked(*RUN), "mlp", "confirm", {"task": "point-mass"}, 42), tmp_path, "toy", {}
    )
    result = run_job(job)
    assert (result["outcome"], result["failure_class"]) == ("failed", "storage")
    assert "Read-only file system" in result["message"]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DatasetError("gone"), "data"),
        (ConfigError("dataset: x is not a folder"), "data"),
        (checkpoint.CheckpointError("damaged"), "data"),
        (ValueError("a bug"), "error"),
    ],
)
def test_data_that_is_gone_fails_a_trial_as_such(error: Exception, cause: str) -> None:
    assert failure_class(error) == cause
