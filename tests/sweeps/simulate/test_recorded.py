"""Recorded runs as a simulated world: which take part, what they are worth."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from sweeps.core.definition.axes import Range
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Confirm
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.simulate.__main__ import main
from sweeps.core.simulate.recorded import RecordedWorld, Recording, recorded_sweep
from sweeps.core.simulate.simulator import Planner
from sweeps.core.store.events import EventLog
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.series import SeriesWriter
from tests.sweeps.tiny import PLAN, ROOT

SEEDS = (1000, 1001, 1002, 1003)
SWEEP = Compare(
    name="epoch_budget",
    tasks=("point-mass",),
    presets="laptop",
    arms={"mlp": "mlp", "flow": "flow"},
    baseline="mlp",
    space={"world_model.substeps": (1, 2, 4, 8), "epochs": (200,)},
    fixed={"evaluation.every": 20},
    confirm=Confirm(seeds=SEEDS),
)


class Folder:
    """A run folder in which trials are written as workers write them."""

    def __init__(self, path: Path, sweep: Compare = SWEEP) -> None:
        path.mkdir()
        self.path = path
        (path / "sweep.yaml").write_text(yaml.safe_dump(sweep.to_dict()))
        self.recorder = Recorder(EventLog(path, "driver"))
        self.planner = Planner(recorded_sweep(path))

    def plan(self, substeps: int, seed: int = 0) -> Plan:
        cell = {"world_model.substeps": substeps, "epochs": 200}
        return self.planner.plan("flow", "confirm", cell, seed)

    def trial(
        self, substeps: int, seed: int, level: float, outcome: str = "completed", epochs: int = 200
    ) -> None:
        """A run with returns level + epoch / 1000, at 36 s for 20 epochs."""
        plan = self.plan(substeps, seed)
        self.recorder.planned(plan)
        self.recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
        with SeriesWriter(self.path, plan.trial_id, 1) as series:
            for epoch in range(20, epochs + 1, 20):
                row = {"epoch": epoch, "env_steps": epoch, "task": "point-mass", "n": 1}
                series.evaluation(row | {"return_mean": level + epoch / 1000})
        cause = {"failed": {"failure_class": "oom_host", "message": "killed for memory"}}
        result = {"attempt": 1, "epoch": epochs, "env_steps": epochs, "wall_time_s": 1.8 * epochs}
        self.recorder.ended(plan.trial_id, outcome, result | cause.get(outcome, {}))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Cells of 1 and 2 substeps on four seeds; 4 runs out of memory, 8 was stopped early."""
    made = Folder(tmp_path / "run")
    for substeps, levels in ((1, [10.0, 11.0, 12.0, 13.0]), (2, [20.0, 21.0, 22.0, 23.0])):
        for seed, level in zip(SEEDS, levels, strict=True):
            made.trial(substeps, seed, level)
    made.trial(4, 1000, 30.0, "failed", epochs=100)
    made.trial(8, 1000, 40.0, "stopped", epochs=60)
    return made


def test_whole_runs_and_failures_take_part_and_stopped_runs_do_not(folder: Folder) -> None:
    sweep = Recording(folder.path).cover(recorded_sweep(folder.path))
    assert [cell["world_model.substeps"] for cell in sweep.cells()] == [1, 2, 4]
    assert sweep.cell_count() == 3
    assert dataclasses.replace(sweep, search_seed=1).cell_count() == 3


def test_the_truth_is_the_mean_of_the_recorded_scores(folder: Folder) -> None:
    recording = Recording(folder.path)
    world = RecordedWorld(recording.cover(recorded_sweep(folder.path)), recording, (0,))
    # Means of the levels, and of the last five evaluations' 0.12, 0.14, ... 0.20.
    assert world.truth(folder.plan(1)) == pytest.approx(11.5 + 0.16)
    assert world.truth(folder.plan(2)) == pytest.approx(21.5 + 0.16)
    assert np.isnan(world.truth(folder.plan(4)))
    # Seed variance of 10..13: 5/3; of the two means, 11.66 and 21.66: 50, of it 5/12 is noise.
    assert world.middle == pytest.approx(16.66)
    assert world.sd == pytest.approx((50 - 5 / 12) ** 0.5)
    assert world.rho == pytest.approx((5 / 3) ** 0.5 / world.sd)
    assert world.runs_a_cell == 4


def test_different_seeds_play_different_runs_as_long_as_there_are_any(folder: Folder) -> None:
    recording = Recording(folder.path)
    sweep = recording.cover(recorded_sweep(folder.path))
    first = (sweep.screen.seed, *sweep.select.seeds, *sweep.confirm.seeds)[:4]
    drawn = set()
    for world_seed in range(6):
        world = RecordedWorld(sweep, recording, (world_seed,))
        ends = [float(world.run(folder.plan(1, seed)).returns[-1]) for seed in first]
        assert sorted(ends) == pytest.approx([10.2, 11.2, 12.2, 13.2])
        assert ends == [float(world.run(folder.plan(1, seed)).returns[-1]) for seed in first]
        drawn.add(ends[0])
        assert world.run(folder.plan(1)).hours == pytest.approx(0.1)
    assert len(drawn) > 1


def test_a_recorded_failure_comes_when_it_came(folder: Folder) -> None:
    recording = Recording(folder.path)
    world = RecordedWorld(recording.cover(recorded_sweep(folder.path)), recording, (0,))
    run = world.run(folder.plan(4))
    assert run.out_of_memory_at == 0.5
    assert run.epochs[-1] == 200 and run.hours == pytest.approx(0.1)


def test_too_few_runs_are_refused_in_one_line(tmp_path: Path) -> None:
    made = Folder(tmp_path / "run")
    made.trial(1, 1000, 1.0)
    made.trial(1, 1001, 1.0)
    made.trial(2, 1000, 1.0)
    with pytest.raises(UsageError, match="1 of 4 configurations can be played: at least 2 need 2"):
        Recording(made.path).cover(recorded_sweep(made.path))


def test_a_range_has_no_recorded_cells(folder: Folder) -> None:
    space = dict(SWEEP.space) | {"optim.wm_lr": Range(1e-4, 1e-2)}
    ranged = dataclasses.replace(recorded_sweep(folder.path), space=space)
    with pytest.raises(UsageError, match="numeric range"):
        Recording(folder.path).cover(ranged)


def test_a_tune_sweep_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(PLAN.to_dict()))
    assert recorded_sweep(tmp_path) == PLAN
    (tmp_path / "sweep.yaml").write_text("- nothing\n")
    with pytest.raises(UsageError, match="cannot be read"):
        recorded_sweep(tmp_path)


def test_the_command_plays_recorded_runs(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--recorded", str(folder.path), "--reps", "2", "screen.trials=3", "select.top=2"]
    file = folder.path / "played.json"
    assert main([*words, "--against", "random", "--json", str(file)]) == ExitCode.OK
    played = json.loads(file.read_text())
    assert len(played["sweep"]["recorded"]) == 3 and played["recorded"] == str(folder.path)
    page = capsys.readouterr().out
    assert "screen 3 of 3 cells" in page
    assert "2 recorded, rho 0.18" in page


def test_the_table_that_comes_with_the_project_can_be_played_whole() -> None:
    recording = Recording(ROOT / "benchmarks" / "recorded")
    sweep = recording.cover(recorded_sweep(ROOT / "benchmarks" / "recorded"))
    assert (sweep.cell_count(), recording.failed) == (48, {})
    runs = [recording.whole[config] for config in recording.whole]
    assert sum(len(each) >= 5 for each in runs) == 48  # the baseline's are fewer
    assert all(len(run.epochs) == 10 for each in runs for run in each)
