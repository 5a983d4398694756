"""Disk: what stays of checkpoints, and what happens when there is little room."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from flowpwm import checkpoint
from flowpwm.compose import compose
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.driver.search import StageSearch
from sweeps.core.forecast.guard import LEAST_BYTES, DiskGuard
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.events import EventLog
from sweeps.core.store.retention import Retention, keep_networks
from tests.sweeps.tiny import PLAN

CONFIG = {"epochs": 4, "num_envs": 8, "wm_warmup_updates": 0, "evaluation.every": 20}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    """The checkpoints of a run: best and last, each with the one before it."""
    config = compose("point-mass laptop flow", CONFIG)
    folder = tmp_path_factory.mktemp("saved")
    state = TrainState.start(config)
    for _ in train(state):
        for name in ("best", "last") * 2:
            checkpoint.save(state, folder / name, resumable=name == "last")
    state.close()
    return config, folder


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_networks_stay_and_all_else_goes(saved: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, folder = saved[0], shutil.copytree(saved[1], tmp_path / "c")
    before = size(folder)
    freed = keep_networks(folder)
    # Two small manifests and configurations are in neither sum.
    assert before - size(folder) == pytest.approx(freed, abs=4000)
    assert size(folder) == pytest.approx(estimate(config).kept_bytes, rel=0.1)
    assert sorted(path.name for path in folder.iterdir()) == ["best", "last"]
    for name in ("best", "last"):
        loaded, agent = checkpoint.load_agent(folder / name)
        assert agent.parameter_counts() == estimate(loaded).parameters
    assert keep_networks(folder) == 0


def test_a_run_that_will_not_go_on_says_so_when_asked_to(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    config, folder = saved[0], shutil.copytree(saved[1], tmp_path / "c")
    keep_networks(folder)
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.load(folder / "last", config)


def test_a_damaged_checkpoint_is_left_as_it_is(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(saved[1], tmp_path / "c")
    (folder / "last" / "manifest.json").write_text("{")
    before = size(folder / "last")
    keep_networks(folder)
    assert size(folder / "last") == before
    assert (folder / "last.previous").exists()


@pytest.mark.parametrize(
    ("event", "full"),
    [("completed", False), ("stopped", False), ("failed", True), ("interrupted", True)],
)
def test_only_the_end_that_is_on_record_frees_the_disk(
    saved: tuple[RunConfig, Path], tmp_path: Path, event: str, full: bool
) -> None:
    plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": 1}, 0)
    shutil.copytree(saved[1], tmp_path / "checkpoints" / plan.trial_id)
    recorder = Recorder(EventLog(tmp_path, "driver"))
    recorder.listeners.append(Retention(tmp_path))
    recorder.planned(plan)
    recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
    recorder.ended(plan.trial_id, event, {"attempt": 1, "epoch": 4, "env_steps": 9, "score": 1.0})
    kept = tmp_path / "checkpoints" / plan.trial_id / "last" / "training.pt"
    assert kept.exists() is full


def test_no_trial_starts_while_there_is_little_room(tmp_path: Path) -> None:
    said: list[str] = []
    free = shutil.disk_usage(tmp_path).free
    assert not DiskGuard(tmp_path, lambda: 10**6, said.append).holds() or free < LEAST_BYTES
    needed = {"bytes": 2 * free}
    guard = DiskGuard(tmp_path, lambda: needed["bytes"], said.append)
    plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": 1}, 0)

    def plans():
        yield plan

    def job(plan: Plan) -> dict[str, object]:
        return {"trial_id": plan.trial_id}

    errors: list[Exception] = []
    queued: list[Plan] = []
    search = StageSearch(plans(), job, queued.append, lambda: False, errors.append, guard.holds)
    assert search.suggest("a") is None and search.suggest("b") is None
    assert errors == []
    (told,) = said
    assert told.startswith("WARN disk: ") and "no new trial starts until there is room" in told
    # Trials that run may make room; where none does, nobody will.
    assert guard.starved_s(running=1) == 0
    assert guard.starved_s(running=0) >= 0
    time.sleep(0.05)
    assert 0.05 <= guard.starved_s(running=0) < 60
    # Room again, and it is noticed at the next look.
    needed["bytes"] = 1
    guard._looked_at = float("-inf")
    assert search.suggest("c") == {"trial_id": plan.trial_id} and queued == [plan]
    assert said[1].endswith("free again, trials start")
    assert guard.starved_s(running=0) == 0


@pytest.mark.fault
def test_a_file_system_that_fills_holds_trials_back_and_lets_them_go(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        said: list[str] = []
        guard = DiskGuard(tmp_path, lambda: 0, said.append)
        assert not guard.holds()
        (tmp_path / "fill").write_bytes(bytes(200 * 10**6))
        guard._looked_at = float("-inf")
        assert guard.holds()
        (tmp_path / "fill").unlink()
        guard._looked_at = float("-inf")
        assert not guard.holds()
        assert len(said) == 2
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
