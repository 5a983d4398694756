"""Drivers killed again and again (F36, F37): search and rungs decide as if never stopped."""

from pathlib import Path

import numpy as np
import pytest

from tests.sweeps.faults.drivers import SEARCHED, SMALL, decided, drive
from tests.sweeps.faults.processes import Child, left_over
from tests.sweeps.faults.steps import Kill, Nothing

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("sweep", [SMALL, SEARCHED], ids=["grid", "optuna"])
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_a_driver_killed_three_times_asks_and_decides_as_one_that_was_not(
    sweep: object, seed: int, tmp_path: Path
) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    whole.mkdir()
    hurt.mkdir()
    names = Child(drive, whole, sweep, Nothing()).end()
    generator = np.random.default_rng(seed)
    for _ in range(3):
        # Each gets some way into what the one before has left.
        child = Child(drive, hurt, sweep, Kill(int(generator.integers(2, len(names) // 4))))
        assert child.end() is None and child.code == -9
    Child(drive, hurt, sweep, Nothing()).end()
    assert decided(hurt) == decided(whole)
    assert len(decided(whole)["rungs"]) > 2
    assert left_over(hurt) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_driver_killed_before_any_of_its_steps_decides_as_one_that_was_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    names = Child(drive, tmp_path / "whole", SEARCHED, Nothing()).end()
    expected = decided(tmp_path / "whole")
    for n, name in enumerate(names):
        folder = tmp_path / str(n)
        folder.mkdir()
        Child(drive, folder, SEARCHED, Kill(n)).end()
        Child(drive, folder, SEARCHED, Nothing()).end()
        assert decided(folder) == expected, (n, name)
