"""Checkpoints: whole or absent, every damage noticed, the one before it as a fallback."""

import dataclasses
import errno
import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flowpwm import checkpoint
from flowpwm.checkpoint import CheckpointError
from flowpwm.config import RunConfig, config_id
from flowpwm.state import TrainState
from flowpwm.train import train
from tests.flowpwm.tiny import run, tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Path]:
    """Two checkpoints, of epoch 2 (previous) and 4 (last)."""
    folder = tmp_path_factory.mktemp("checkpoints") / "last"
    config = tiny()
    state = TrainState.start(config)
    for report in train(state):
        if report.epoch in (2, 4):
            checkpoint.save(state, folder)
        if report.epoch == 4:
            checkpoint.save(state, folder.with_name("best"), resumable=False)
            break
    return config, folder


def copy(saved: tuple[RunConfig, Path], tmp_path: Path) -> tuple[RunConfig, Path]:
    shutil.copytree(saved[1].parent, tmp_path / "copy")
    return saved[0], tmp_path / "copy" / "last"


@pytest.mark.parametrize("name", ["agent.pt", "training.pt", "manifest.json", "config.json"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_falls_back_to_the_previous_one(
    saved: tuple[RunConfig, Path], tmp_path: Path, name: str, keep: float
) -> None:
    config, folder = copy(saved, tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * keep)])
    assert checkpoint.load(folder, config).epoch == 2


def test_a_damaged_checkpoint_is_put_aside_so_that_the_good_one_outlives_the_next_save(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    config, folder = copy(saved, tmp_path)
    (folder / "agent.pt").write_bytes(b"")
    state = checkpoint.load(folder, config)
    assert not folder.exists() and (folder.parent / "bad_last").is_dir()
    checkpoint.save(state, folder)
    assert checkpoint.load(folder, config).epoch == 2
    assert (folder.parent / "last.previous" / "agent.pt").stat().st_size > 0


def test_a_single_flipped_bit_is_noticed(saved: tuple[RunConfig, Path], tmp_path: Path) -> None:
    config, folder = copy(saved, tmp_path)
    rng = np.random.default_rng(0)
    for name in ("agent.pt", "training.pt"):
        data = bytearray((folder / name).read_bytes())
        for position in rng.integers(len(data), size=100):
            flipped = data.copy()
            flipped[position] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(flipped)
            with pytest.raises(CheckpointError, match=f"{name}: damaged"):
                checkpoint.load_agent(folder)
        (folder / name).write_bytes(data)
    assert checkpoint.load(folder, config).epoch == 4


def test_with_no_valid_checkpoint_left_every_reason_is_given(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    config, folder = copy(saved, tmp_path)
    (folder / "agent.pt").write_bytes(b"")
    (folder.with_name("last.previous") / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"agent.pt: damaged.*last.previous: no readable"):
        checkpoint.load(folder, config)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load(tmp_path / "absent", config)


def test_a_checkpoint_of_another_configuration_is_refused_by_its_keys(
    saved: tuple[RunConfig, Path],
) -> None:
    other = tiny(world_model__substeps=4, seed=7)
    with pytest.raises(CheckpointError, match=r"seed: 0 then, 7 now.*substeps: 1 then, 4 now"):
        checkpoint.load(saved[1], other)


def test_evaluation_settings_may_change_between_save_and_resume(
    saved: tuple[RunConfig, Path],
) -> None:
    assert checkpoint.load(saved[1], tiny(evaluation__episodes=5)).epoch == 4


def test_the_best_checkpoint_keeps_the_policy_only(saved: tuple[RunConfig, Path]) -> None:
    config, folder = saved
    best = folder.with_name("best")
    loaded, agent = checkpoint.load_agent(best)
    assert loaded == config
    obs = np.zeros((2, agent.tasks.obs_dim), np.float32)
    assert agent.act(obs, torch.zeros(2, dtype=torch.int64)).shape == (2, 2)
    with pytest.raises(CheckpointError, match="keeps a policy only"):
        checkpoint.load(best, config)


def test_a_save_that_fails_leaves_the_old_checkpoint_and_nothing_else(
    saved: tuple[RunConfig, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = copy(saved, tmp_path)
    state = checkpoint.load(folder, config)
    before = sorted(p.name for p in folder.parent.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flowpwm.storage.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(state, folder)
    monkeypatch.undo()
    # The one before it was given up to make room.
    left = [name for name in before if name != "last.previous"]
    assert sorted(p.name for p in folder.parent.iterdir()) == left
    assert checkpoint.load(folder, config).epoch == 4


def test_a_disk_that_fills_while_tensors_are_written_is_an_os_error(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    """torch says RuntimeError of its archive; half a file would keep the disk full."""
    _, folder = copy(saved, tmp_path)
    left = folder.parent / f".{folder.name}.12345.tmp"  # of a writer that was killed
    left.mkdir()
    script = f"""
import pathlib, resource, signal, torch
from flowpwm.storage import write_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    write_folder(pathlib.Path({str(folder)!r}), {{"x.pt": torch.zeros(2**20)}}, {{}})
except OSError as error:
    print(error.errno)
"""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{errno.EFBIG}\n", "")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not [path for path in folder.parent.iterdir() if path.name.endswith(".tmp")]


def test_a_checkpoint_executes_nothing_when_read(
    saved: tuple[RunConfig, Path], tmp_path: Path
) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    config, folder = copy(saved, tmp_path)
    data = pickle.dumps(Bomb())
    (folder / "training.pt").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["training.pt"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint.load(folder, config).epoch == 2  # the previous one
    assert not (tmp_path / "exploded").exists()


def test_a_run_may_go_on_in_smaller_parts_on_more_threads(saved: tuple[RunConfig, Path]) -> None:
    other = dataclasses.replace(saved[0], microbatches=2, num_threads=2)
    assert config_id(other) == config_id(saved[0])
    assert checkpoint.load(saved[1], other).config.microbatches == 2


def test_a_run_does_not_change_its_device_half_way(saved: tuple[RunConfig, Path]) -> None:
    other = dataclasses.replace(saved[0], device="cuda")
    with pytest.raises(CheckpointError, match=r"device: 'cpu' then, 'cuda' now"):
        checkpoint.load(saved[1], other)


def test_a_checkpoint_from_before_a_clock_was_added_goes_on() -> None:
    state, _ = run(tiny(epochs=2, evaluation__every=1))
    kept = state.state_dict()
    kept["seconds"] = {name: kept["seconds"][name] for name in ("wall", "actor")}
    again = TrainState.start(tiny(epochs=3, evaluation__every=1))
    again.load_state_dict(kept)
    assert again.seconds["wall"] == state.seconds["wall"] > 0
    assert again.seconds["critic_device"] == 0.0
    _, reports = run(again.config, again)
    assert [report.epoch for report in reports] == [3]
