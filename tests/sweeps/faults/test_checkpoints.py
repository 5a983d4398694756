"""Checkpoints cut, flipped or gone (F19 to F21): the one before is used, never a fresh start."""

import shutil
from pathlib import Path

import pytest

from sweeps.core.store.series import read_series
from tests.sweeps.faults.processes import TRIAL, Child, learned, left_over, run, train
from tests.sweeps.faults.steps import KillBefore

pytestmark = pytest.mark.fault

CHECKPOINTS = f"checkpoints/{TRIAL}"


@pytest.fixture
def folder(killed: Path, tmp_path: Path) -> Path:
    """A trial killed in its fifth epoch."""
    return shutil.copytree(killed, tmp_path / "run")


def cut(folder: Path, share: float, name: str = "last") -> None:
    path = folder / CHECKPOINTS / name / "training.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_checkpoint_is_put_aside_and_the_trial_repeats_one_interval(
    share: float, folder: Path, expected: dict[str, list]
) -> None:
    cut(folder, share)
    assert run(folder)["outcome"] == "completed"
    assert learned(folder) == expected
    assert read_series(folder, "reports").num_rows == 4 + 3  # from the third epoch on
    assert (folder / CHECKPOINTS / "bad_last").is_dir()
    log = (folder / "logs" / f"{TRIAL}-002.log").read_text()
    assert "goes on from last.previous: " in log and "SHA-256 differs" in log
    assert left_over(folder) == []


def test_the_good_checkpoint_outlives_a_kill_in_the_next_save(
    folder: Path, expected: dict[str, list]
) -> None:
    cut(folder, 0.5)
    breakage = KillBefore(f"rename {CHECKPOINTS}/.last.tmp -> {CHECKPOINTS}/last", 0)
    child = Child(train, folder, breakage, {})
    assert child.end() is None and child.code == -9
    assert run(folder)["outcome"] == "completed"
    assert learned(folder) == expected


def test_without_a_good_checkpoint_the_trial_fails_and_does_not_begin_again(
    folder: Path,
) -> None:
    cut(folder, 0.5)
    cut(folder, 0.0, "last.previous")
    result = run(folder)
    assert (result["outcome"], result["failure_class"]) == ("failed", "data")
    for name in ("last", "last.previous"):
        assert f"{CHECKPOINTS}/{name}/training.pt: damaged" in result["message"]
    assert read_series(folder, "reports")["epoch"].to_pylist() == [1, 2, 3, 4]
