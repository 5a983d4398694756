"""Processes killed at chosen points (F3, F4): nothing is lost, nothing is there twice."""

import shutil
from pathlib import Path

import pytest

from flowpwm.storage import verify
from sweeps.core.store.compact import compact, read_tables
from sweeps.core.store.series import read_series
from tests.sweeps.faults.processes import (
    EPOCHS,
    TRIAL,
    Child,
    compacted,
    learned,
    left_over,
    run,
    train,
)
from tests.sweeps.faults.steps import Kill, KillBefore, Nothing
from tests.sweeps.store.conftest import write_sweep, write_trial

pytestmark = pytest.mark.fault

ROWS = f"series/{TRIAL}/reports-001-000.arrows"
LAST = f"checkpoints/{TRIAL}/last"
NEW = f"checkpoints/{TRIAL}/.last.tmp"
#: In the order in which they come after the fifth epoch: the step, how often it was taken before,
#: and the epoch that the next attempt starts from.
POINTS = {
    "before its rows": (f"write {ROWS}", 4, 4),
    "after its rows": (f"mkdir {NEW}", 5, 4),
    "with temporary files": (f"fsync {NEW}/training.pt", 4, 4),
    "before the temporary folder is synced": (f"fsync {NEW}", 4, 4),
    "while the oldest is pruned": (f"unlink {LAST}.previous/training.pt", 2, 4),
    "between prune and rename": (f"rename {LAST} -> {LAST}.previous", 3, 4),
    "between the two renames": (f"rename {NEW} -> {LAST}", 4, 4),
    "before the names are synced": (f"fsync checkpoints/{TRIAL}", 5, 5),
}


@pytest.mark.parametrize(("step", "nth", "epoch"), POINTS.values(), ids=POINTS)
def test_a_trial_killed_around_a_checkpoint_goes_on_to_the_bit(
    step: str, nth: int, epoch: int, expected: dict[str, list], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    child = Child(train, folder, KillBefore(step, nth), {})
    assert child.end() is None and child.code == -9
    rows = read_series(folder, "reports")["epoch"].to_pylist()
    assert rows == list(range(1, 5 if step == f"write {ROWS}" else 6))  # rows come first
    assert run(folder)["outcome"] == "completed"
    assert learned(folder) == expected
    again = read_series(folder, "reports")
    epochs = [r["epoch"] for r in again.to_pylist() if r["attempt"] == 2]
    assert epochs == list(range(epoch + 1, EPOCHS + 1))
    assert left_over(folder) == []
    assert verify(folder / LAST)["epoch"] == EPOCHS


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trial_killed_before_any_of_its_steps_goes_on_to_the_bit(
    whole: tuple[Path, list[str]], expected: dict[str, list], tmp_path: Path
) -> None:
    for n, name in enumerate(whole[1]):
        folder = tmp_path / str(n)
        child = Child(train, folder, Kill(n), {})
        assert child.end() is None and child.code == -9, name
        assert run(folder)["outcome"] == "completed", name
        assert learned(folder) == expected, name
        assert left_over(folder) == [], name


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "second"])
def test_a_compaction_killed_before_any_of_its_steps_leaves_old_or_new_tables(
    earlier: bool, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    write_sweep(first)
    if earlier:
        compact(first)
        write_trial(first, "c1-s0", 2, range(8, 9))

    def sweep(name: str) -> Path:
        return shutil.copytree(first, tmp_path / name)

    def tables(folder: Path) -> list[list[dict]]:
        found = read_tables(folder)
        return [found.trials.to_pylist(), found.reports.to_pylist(), found.evals.to_pylist()]

    names = Child(compacted, sweep("whole"), Nothing()).end()
    assert len(names) > 12
    right = tables(tmp_path / "whole")
    for n, name in enumerate(names):
        folder = sweep(str(n))
        child = Child(compacted, folder, Kill(n))
        assert child.end() is None and child.code == -9, name
        assert tables(folder) == right, name
        assert len(list((folder / "tables").glob("MANIFEST-*.json"))) >= earlier, name
        Child(compacted, folder, Nothing()).end()
        assert tables(folder) == right, name
        assert left_over(folder) == [], name
