"""Runs that several tests start from: one that nothing happened to, and one that was killed."""

from pathlib import Path

import pytest

from tests.sweeps.faults.processes import EPOCHS, TRIAL, Child, learned, train
from tests.sweeps.faults.steps import KillBefore, Nothing


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The run folder of a trial that nothing happened to, and the steps it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result, names = Child(train, folder, Nothing(), {}).end()
    assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
    return folder, names


@pytest.fixture(scope="session")
def expected(whole: tuple[Path, list[str]]) -> dict[str, list[dict[str, object]]]:
    """What it learned."""
    return learned(whole[0])


@pytest.fixture(scope="session")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a trial killed in its fifth epoch: checkpoints of the fourth and third."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    breakage = KillBefore(f"write series/{TRIAL}/reports-001-000.arrows", 4)
    child = Child(train, folder, breakage, {})
    assert child.end() is None and child.code == -9
    return folder
