"""A whole comparison, stopped and resumed: the real script, real Ray, real training."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import analysis
from flowpwm.compose import from_dict
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.store.compact import Tables, read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import RUN, Process, alive, latest, state_of

pytestmark = [pytest.mark.slow, pytest.mark.fault]

SCRIPT = "single_task"
JOINT = "point-mass+pendulum-swingup"
WORDS = [
    *(word for word in RUN if not word.startswith("evaluation.every")),
    "preset=laptop",
    f"task=[point-mass,{JOINT}]",
    "arms=[mlp,flow]",
    "seeds=[42,7]",
    f"world_model.task_set={JOINT}",
    "world_model.task_dim=4",
    "evaluation.every=20",
    "epochs=40",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run folder of a sweep that SIGTERM stopped while trials were at work.

    It came again when all were done and Ray was down, and then had nothing to stop.
    """
    cwd = tmp_path_factory.mktemp("compare")
    first = Process(cwd, *WORDS, script=SCRIPT)
    try:
        first.wait_for(lambda: first.text.count("start confirm") > 2)
        tree = psutil.Process(first.popen.pid).children(recursive=True)
        took = first.send(signal.SIGTERM)
        assert first.popen.returncode == ExitCode.INTERRUPTED, first.text
        assert took < 20
        folder = latest(cwd, SCRIPT)
        assert f"--resume results/{SCRIPT}/{folder.name}" in first.text
        assert alive(tree) == []
        trials = state_of(folder).trials.values()
        assert not all(t.final for t in trials)
        assert not [t for t in trials if t.status == "RUNNING"]
        second = Process(cwd, "--resume", str(folder), script=SCRIPT)
        second.wait_for(lambda: all(t.final for t in state_of(folder).trials.values()))
        driver = psutil.Process(second.popen.pid)
        second.wait_for(lambda: not any("raylet" in p.name() for p in driver.children()))
        time.sleep(0.2)  # the driver takes SIGTERM back within 20 ms of its Ray's end
        second.popen.send_signal(signal.SIGTERM)
        assert second.end() == ExitCode.OK, second.text
        (folder / "said").write_text(second.text)
    finally:
        first.kill()
    yield folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return read_tables(folder)


def test_every_arm_has_every_task_and_seed_once_although_it_was_stopped(
    folder: Path, tables: Tables
) -> None:
    trials = tables.trials.to_pylist()
    assert sorted((t["arm"], t["task"], t["seed"]) for t in trials) == sorted(
        (arm, task, seed)
        for arm in ("flow", "mlp")
        for task in ("point-mass", JOINT)
        for seed in (7, 42)
    )
    assert {(t["stage"], t["status"], t["epochs_done"]) for t in trials} == {
        ("confirm", "COMPLETED", 40)
    }
    completed = Counter(e["trial_id"] for e in read_events(folder) if e["event"] == "completed")
    assert set(completed.values()) == {1}


def test_a_run_on_several_tasks_has_a_row_for_each_at_every_evaluation(tables: Tables) -> None:
    tasks = {t["trial_id"]: t["task"].split("+") for t in tables.trials.to_pylist()}
    rows = [(e["trial_id"], e["epoch"], e["task"]) for e in tables.evals.to_pylist()]
    assert sorted(rows) == sorted(
        (trial, epoch, task)
        for trial, names in tasks.items()
        for epoch in (20, 40)
        for task in names
    )


def test_a_run_on_several_tasks_is_the_training_run_to_the_bit(tables: Tables) -> None:
    trial = next(
        t
        for t in tables.trials.to_pylist()
        if (t["task"], t["arm"], t["seed"]) == (JOINT, "flow", 42)
    )
    state = TrainState.start(from_dict(json.loads(trial["config_json"])))
    returns = {
        (report.epoch, e.task): e.returns.tolist()
        for report in train(state)
        for e in report.evaluations
    }
    state.close()
    rows = [e for e in tables.evals.to_pylist() if e["trial_id"] == trial["trial_id"]]
    assert {(row["epoch"], row["task"]): row["returns"] for row in rows} == returns
    assert trial["score"] == pytest.approx(state.score, rel=1e-12)


def test_it_ends_with_a_verdict_for_each_task_and_one_over_all(folder: Path) -> None:
    said = (folder / "said").read_text()
    for part in (
        "RESULT on test seeds 42, 7",
        "flow against mlp",
        "over 3 tasks",
        "final/peak",
        "report.html",
    ):
        assert part in said
    assert "winner" not in said
    frames = analysis.load(folder)
    table = analysis.compare(frames)
    assert table[["task", "cell"]].to_records(index=False).tolist() == [
        ("pendulum-swingup", ""),
        ("point-mass", "run=point-mass"),
        ("point-mass", f"run={JOINT}"),
    ]
    assert set(table["n"]) == {2}
    assert (folder / "report.html").stat().st_size > 10_000
