"""Checkpoints of finished trials, played again: what is recorded, and what is refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import analysis
from flowpwm import checkpoint
from flowpwm.config import EvaluationConfig
from flowpwm.evaluate import Evaluator
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.evaluate import main
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.compact import compact, read_tables
from sweeps.core.store.events import EventLog, event_files, fold, read_events
from sweeps.core.store.folder import RunFolder
from sweeps.core.store.records import TrialRecord
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import RUN, asked

SWEEP = asked("task=point-mass", "arms=[mlp,flow]", *RUN, "epochs=2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both arms on seeds 42 and 123; the flow of seed 123 failed and has no checkpoint."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec=SWEEP.to_dict())
        recorder = Recorder(log)
        for seed in (42, 123):
            for arm, cell in SWEEP.confirmed():
                plan = make_plan(SWEEP, arm, "confirm", cell, seed)
                recorder.planned(plan)
                recorder.started(plan.trial_id, {"attempt": 1})
                result = {"attempt": 1, "epoch": 2, "env_steps": 64, "score": 1.0}
                if (arm, seed) == ("flow", 123):
                    recorder.ended(plan.trial_id, "failed", result | {"failure_class": "error"})
                    continue
                state = TrainState.start(plan.config)
                list(train(state))
                for which in ("best", "last"):
                    where = folder / "checkpoints" / plan.trial_id / which
                    checkpoint.save(state, where, resumable=False)
                state.close()
                recorder.ended(plan.trial_id, "completed", result)
        recorder.sweep("sweep_finished", exit_code=3)
    compact(folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy to write in."""
    yield Path(shutil.copytree(trained, tmp_path / "results" / "single_task" / "run"))


def trials(folder: Path) -> dict[tuple[str, int], TrialRecord]:
    return {(t.arm, t.seed): t for t in fold(read_events(folder)).trials.values()}


def evaluate(folder: Path, *words: str) -> int:
    return main([str(folder), *words, "--episodes", "5"])


def test_a_finished_trial_is_played_recorded_and_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trials(run)["flow", 42]
    assert evaluate(run, before.trial_id) == ExitCode.OK
    config, agent = checkpoint.load_agent(run / "checkpoints" / before.trial_id / "best")
    evaluator = Evaluator(config, EvaluationConfig(episodes=5, seed=2_000_003))
    (expected,) = evaluator(agent)
    evaluator.close()
    # Of five returns the interquartile mean is that of the middle three.
    middle = np.sort(expected.returns)[1:4].mean()
    assert capsys.readouterr().out == (
        f"{before.trial_id} flow best: return mean {expected.returns.mean():.1f}, "
        f"IQM {middle:.1f}, median {np.median(expected.returns):.1f}, "
        f"sd {expected.returns.std(ddof=1):.1f} over 5 episodes of point-mass\n"
    )
    after = trials(run)["flow", 42]
    assert (after.status, after.score, after.ended_at) == ("EVALUATED", 1.0, before.ended_at)
    (played,) = after.played
    assert (played.which, played.seed, played.n) == ("best", 2_000_003, 5)
    assert played.protocol == "deterministic/5x/seed2000003"
    assert played.return_mean == pytest.approx(expected.returns.mean())
    assert played.return_iqm == pytest.approx(middle)
    (task,) = played.tasks
    assert task["task"] == "point-mass"
    assert task["returns"] == pytest.approx(expected.returns.tolist())


def test_without_ids_all_that_reached_their_budget_are_played_and_none_twice(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) == 3
    states = {key: trial.status for key, trial in trials(run).items()}
    assert states == {
        ("mlp", 42): "EVALUATED",
        ("flow", 42): "EVALUATED",
        ("mlp", 123): "EVALUATED",
        ("flow", 123): "FAILED",
    }
    files = event_files(run)
    assert evaluate(run) == ExitCode.OK
    assert capsys.readouterr().out.count("(recorded before)") == 3
    assert event_files(run) == files
    assert evaluate(run, "--which", "last") == ExitCode.OK
    assert [p.which for p in trials(run)["mlp", 42].played] == ["best", "last"]


def test_evaluated_trials_still_count_in_tables_and_comparisons(run: Path) -> None:
    with EventLog(run, "late") as log:  # what a whole run of seed 123 would have written
        flow = trials(run)["flow", 123].trial_id
        log.append("started", flow, attempt=2)
        log.append("completed", flow, attempt=2, epoch=2, env_steps=64, score=1.0)
    before = analysis.trial_scores(analysis.load(run))
    assert evaluate(run, *(t.trial_id for t in trials(run).values() if t.seed == 42)) == 0
    status = dict(read_tables(run, kinds=("trials",)).trials.select(["seed", "status"]).to_pydict())
    assert sorted(zip(status["seed"], status["status"], strict=True)) == [
        (42, "EVALUATED"),
        (42, "EVALUATED"),
        (123, "COMPLETED"),
        (123, "COMPLETED"),
    ]
    after = analysis.trial_scores(analysis.load(run))
    assert set(after["status"]) == {"COMPLETED", "EVALUATED"}
    assert after.drop(columns="status").equals(before.drop(columns="status"))


def test_the_tables_are_brought_up_to_date(run: Path) -> None:
    assert evaluate(run, trials(run)["mlp", 42].trial_id) == ExitCode.OK
    names = {path.name for path in (run / "tables").glob("MANIFEST-*.json")}
    compact(run)  # finds nothing left to do
    assert {path.name for path in (run / "tables").glob("MANIFEST-*.json")} == names
    assert RunFolder(run).owner() is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{failed}"], "{failed} is failed: only trials that reached their budget are played"),
        (["{done}x"], "unknown trial '{done}x'. Did you mean '{done}'?"),
        (["{done}", "--seed", "42"], "--seed 42 is the seed that {done} was trained with"),
        (["{done}", "--seed", "1000003"], "the episodes that chose the best weights of {done}"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_and_changes_nothing(
    words: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {
        "failed": trials(run)["flow", 123].trial_id,
        "done": trials(run)["mlp", 42].trial_id,
    }
    files = event_files(run)
    assert evaluate(run, *(word.format(**names) for word in words)) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert message.format(**names) in err
    assert event_files(run) == files


def test_a_running_trial_and_a_missing_checkpoint_are_refused_before_anything_is_played(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = trials(run)["mlp", 42].trial_id, trials(run)["mlp", 123].trial_id
    shutil.rmtree(run / "checkpoints" / second / "best")
    assert evaluate(run, first, second) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and f"{second}: no checkpoint" in err
    with EventLog(run, "driver") as log:
        log.append("started", second, attempt=2)
    assert evaluate(run, second) == ExitCode.USAGE
    assert f"{second} is running" in capsys.readouterr().err


def test_a_folder_without_a_sweep_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path) == ExitCode.USAGE
    assert "no sweep there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
