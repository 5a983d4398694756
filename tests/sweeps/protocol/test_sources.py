"""Where configurations come from: the grid without replacement, and Optuna through a journal."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.core.definition.axes import Cell, Range
from sweeps.core.definition.tune import Screen, Tune
from sweeps.core.protocol.grid import Grid, Source, balanced_order, cell_key, is_enumerable
from sweeps.core.protocol.study import JOURNAL, Study
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN

SMALL = dataclasses.replace(
    PLAN, space={"epochs": (1, 2), "wm_batch_size": (3, 4, 5)}, screen=Screen(trials=4)
)
LARGE = dataclasses.replace(
    PLAN,
    space={"optim.wm_lr": Range(1e-4, 1e-2, log=True), "wm_updates": Range(1, 8, integer=True)},
    screen=Screen(trials=12),
)


def drain(source: Source) -> list[Cell]:
    cells = []
    while (cell := source.next()) is not None:
        source.planned(f"t{len(cells)}")
        cells.append(cell)
    return cells


def trials(folder: Path, sweep: Tune) -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    return optuna.load_study(study_name=sweep.name, storage=storage).trials


def test_a_grid_gives_every_cell_once() -> None:
    cells = drain(Grid(SMALL))
    assert sorted(map(cell_key, cells)) == sorted(map(cell_key, SMALL.cells()))
    assert len(cells) == 6


def test_a_grid_depends_on_its_seed_alone() -> None:
    other = dataclasses.replace(SMALL, search_seed=1)
    assert drain(Grid(SMALL)) == drain(Grid(SMALL))
    assert drain(Grid(SMALL)) != drain(Grid(other))


def test_a_resumed_grid_leaves_out_what_was_tried() -> None:
    order = drain(Grid(SMALL))
    assert drain(Grid(SMALL, tried=order[:2])) == order[2:]


def test_a_part_of_a_grid_has_every_value_about_equally_often() -> None:
    # 8 of 32 cells: each of 4 integrators and 4 substeps twice, each of 2 batch sizes 4 times.
    first = balanced_order(list(PLAN.cells()), 8, seed=0)[:8]
    for axis, values in PLAN.space.items():
        assert isinstance(values, tuple)
        counted = Counter(cell[axis] for cell in first)
        assert set(counted.values()) == {8 // len(values)}


def test_grids_up_to_48_cells_are_enumerated_and_endless_spaces_are_not() -> None:
    assert is_enumerable(PLAN)
    assert not is_enumerable(LARGE)
    seven_by_seven = {"epochs": tuple(range(1, 8)), "wm_updates": tuple(range(1, 8))}
    assert not is_enumerable(dataclasses.replace(SMALL, space=seven_by_seven))
    all_of_it = dataclasses.replace(SMALL, space=seven_by_seven, screen=Screen(trials=49))
    assert is_enumerable(all_of_it)


def test_cells_beyond_the_cap_on_velocity_evaluations_are_never_tried() -> None:
    # Stages: euler 1, midpoint and heun 2, rk4 4; at most 4 evaluations leave substeps
    # {1, 2, 4}, {1, 2}, {1, 2} and {1}: 8 pairs, with 2 batch sizes 16 cells.
    capped = dataclasses.replace(PLAN, max_nfe=4)
    assert capped.cell_count() == len(drain(Grid(capped))) == 16
    assert dataclasses.replace(PLAN, max_nfe=0).cell_count() == 32
    endless = dataclasses.replace(capped, space={**PLAN.space, "optim.wm_lr": Range(1e-4, 1e-2)})
    assert endless.cell_count() == float("inf")


def test_a_study_stays_within_its_ranges_and_never_repeats(tmp_path: Path) -> None:
    study = Study(tmp_path, LARGE)
    cells = []
    for i in range(12):
        cell = study.next()
        assert cell is not None
        study.planned(f"t{i}")
        study.ended(f"t{i}", "COMPLETED", cell["wm_updates"])
        cells.append(cell)
    assert all(1e-4 <= cell["optim.wm_lr"] <= 1e-2 for cell in cells)
    assert all(type(cell["wm_updates"]) is int and 1 <= cell["wm_updates"] <= 8 for cell in cells)
    assert len({cell_key(cell) for cell in cells}) == 12


def test_a_study_of_a_finite_space_ends_when_every_cell_was_tried(tmp_path: Path) -> None:
    assert len(drain(Study(tmp_path, SMALL))) == 6


def test_stopped_trials_are_pruned_with_their_values_and_failed_ones_do_not_count(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, LARGE)
    for i in range(3):
        study.next()
        study.planned(f"t{i}")
        study.progressed(f"t{i}", 100, 1.5 + i)
    study.ended("t0", "STOPPED", 1.5)
    study.ended("t1", "FAILED", None)
    study.ended("t2", "COMPLETED", 7.0)
    told = trials(tmp_path, LARGE)
    assert [t.state.name for t in told] == ["PRUNED", "FAIL", "COMPLETE"]
    assert told[0].intermediate_values == {100: 1.5}
    assert told[2].value == 7.0


def test_a_resumed_study_asks_as_the_uninterrupted_one(tmp_path: Path) -> None:
    def step(study: Study, i: int) -> Cell:
        cell = study.next()
        assert cell is not None
        study.planned(f"t{i}")
        study.ended(f"t{i}", "COMPLETED", float(i % 5))
        return cell

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Study(tmp_path / "a", LARGE)
    expected = [step(whole, i) for i in range(8)]
    cells = [step(Study(tmp_path / "b", LARGE), i) for i in range(8)]
    assert cells == expected


def test_a_resume_tells_what_ended_late_and_drops_what_never_began(tmp_path: Path) -> None:
    study = Study(tmp_path, LARGE)
    for name in ("done", "stopped", "running", "lost", "played"):
        study.next()
        study.planned(name)
    study.next()  # asked for, but the driver died before it was planned
    records = [
        TrialRecord("done", status="COMPLETED", score=3.0),
        TrialRecord("stopped", status="STOPPED", score=1.0),
        TrialRecord("running", status="INTERRUPTED"),
        TrialRecord("played", status="EVALUATED", score=5.0),
    ]
    resumed = Study(tmp_path, LARGE, records)
    states = [t.state.name for t in trials(tmp_path, LARGE)]
    assert states == ["COMPLETE", "PRUNED", "RUNNING", "FAIL", "COMPLETE", "FAIL"]
    resumed.ended("running", "COMPLETED", 4.0)
    assert trials(tmp_path, LARGE)[2].value == 4.0


def test_a_journal_cut_by_a_crash_opens_and_grows(tmp_path: Path) -> None:
    study = Study(tmp_path, LARGE)
    study.next()
    study.planned("t0")
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"op_code": 4, "worker')
    Path(f"{tmp_path / JOURNAL}.lock").symlink_to("gone")
    resumed = Study(tmp_path, LARGE, [TrialRecord("t0")])
    resumed.ended("t0", "COMPLETED", 1.0)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert all(json.loads(line) for line in lines)
    assert trials(tmp_path, LARGE)[0].value == 1.0


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_cells_are_equal_whatever_the_order_of_their_axes(order: tuple[str, str]) -> None:
    values = {"a": 1, "b": "x"}
    assert cell_key({key: values[key] for key in order}) == cell_key(values)
