"""The scheduler of real sweeps over simulated trials, and what the command says of protocols."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.core.definition.axes import Range
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.protocol.grid import Grid, Source
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.ranking import rank
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.rungs import Bracket, Brackets
from sweeps.core.protocol.study import JOURNAL, Study
from sweeps.core.simulate.__main__ import main
from sweeps.core.simulate.page import conclusions
from sweeps.core.simulate.simulated import Run, Shape, SyntheticWorld, World
from sweeps.core.simulate.simulator import Cluster, MemoryLog, Planner, SimulatedStages, Simulation
from sweeps.core.simulate.strategies import (
    RIVALS,
    Budget,
    Outcome,
    RandomSearch,
    ScreenAlone,
    Setting,
    staged,
)
from sweeps.core.simulate.tournament import Comparison, Estimate, compare
from sweeps.core.store.events import EventLog, read_events
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN, ROOT

SMALL = dataclasses.replace(
    PLAN,
    space={
        "world_model.integrator": ("euler", "heun"),
        "world_model.substeps": (1, 2, 4, 8),
        "wm_batch_size": (64, 128),
        "epochs": (1000,),
    },
    fixed={"evaluation.every": 40},
    screen=Screen(trials=12),
    select=Select(top=3, seeds=(100, 101)),
    confirm=Confirm(seeds=tuple(range(1000, 1006))),
)
PLANNER = Planner(SMALL)
HEALTHY = Shape(oom=0.0, nan=0.0)
#: The command over a small space; the words come first, flags may follow.
WORDS = ["epochs=3000", "integrator=euler", "screen.trials=8", "confirm.seeds=3"]


def grid(sweep: Tune, known: list[TrialRecord]) -> Source:
    return Grid(sweep, [record.params for record in known])


def cells(sweep: Tune = SMALL, planner: Planner = PLANNER) -> list[Plan]:
    return [planner.plan("flow", "screen", cell, sweep.screen.seed) for cell in sweep.cells()]


class Driver:
    """One driver process' worth of a simulated sweep."""

    def __init__(
        self, world: World, folder: Path | None = None, cluster: Cluster | None = None, workers=3
    ) -> None:
        log, events = (
            (MemoryLog(), []) if folder is None else (EventLog(folder, "d"), read_events(folder))
        )
        self.recorder = Recorder(log, events)
        self.cluster = cluster or Cluster(world, workers)
        self.stages = SimulatedStages(SMALL, self.recorder, grid, PLANNER)
        self.simulation = Simulation(self.stages, self.recorder, self.cluster)

    def played(self) -> "Driver":
        assert self.simulation.run()
        return self


def told(recorder: Recorder) -> dict[str, object]:
    """All that was decided, and where every trial ended."""
    decisions = recorder.state.decisions
    return {
        "rungs": {trial.trial_id: trial.rungs for trial in recorder.trials()},
        "chosen": {stage: decision["config_ids"] for stage, decision in decisions.items()},
        "ends": {t.trial_id: (t.status, t.epochs_done, t.score) for t in recorder.trials()},
    }


@pytest.mark.parametrize("messages", [23, 100])
def test_drivers_that_are_killed_decide_as_one_that_was_not(tmp_path: Path, messages: int) -> None:
    world = SyntheticWorld(SMALL, Shape(), (1,))
    whole = Driver(world).played()
    cluster, drivers = Cluster(world, 3), 1
    while not (driver := Driver(world, tmp_path, cluster)).simulation.run(messages):
        cluster.pause()  # nothing but the events on disk is left of the driver
        drivers += 1
    assert drivers > 3
    assert told(driver.recorder) == told(whole.recorder)
    assert cluster.now == whole.cluster.now
    assert any(trial.status == "STOPPED" for trial in whole.recorder.trials())


def test_every_planned_trial_ends() -> None:
    for seed in range(5):
        recorder = Driver(SyntheticWorld(SMALL, Shape(oom=0.2, nan=0.2), (seed,))).played().recorder
        assert all(trial.final for trial in recorder.trials())
        assert {t.stage for t in recorder.trials()} == {"screen", "select", "confirm"}
        assert {t.status for t in recorder.of_stage("confirm")} == {"COMPLETED"}


class Tempting(SyntheticWorld):
    """Cells that diverge are far better than all others, until they do."""

    def run(self, plan: Plan) -> Run:
        run = super().run(plan)
        if not np.isnan(run.returns).any():
            return run
        return dataclasses.replace(run, returns=run.returns + 100.0)


def test_cells_that_diverge_stop_at_their_first_nan_and_never_win() -> None:
    broken = 0
    for seed in range(8):
        world = Tempting(SMALL, Shape(oom=0.0, nan=0.3), (seed,))
        recorder = Driver(world).played().recorder
        for trial in recorder.of_stage("screen"):
            run = world.run(PLANNER.plan(trial.arm, "screen", trial.params, trial.seed))
            if not np.isnan(run.returns).any():
                continue
            broken += 1
            assert (trial.status, trial.failure_class) == ("FAILED", "diverged")
            assert trial.epochs_done == run.epochs[np.isnan(run.returns)][0]
        chosen = [c for d in recorder.state.decisions.values() for c in d["config_ids"]]
        failed = {t.config_id for t in recorder.trials() if t.status == "FAILED"}
        assert failed.isdisjoint(chosen)
    assert broken > 10


def test_cells_that_run_out_of_memory_are_failures_and_no_scores() -> None:
    world = SyntheticWorld(SMALL, Shape(oom=0.4, nan=0.0), (0,))
    recorder = Driver(world).played().recorder
    failed = [t for t in recorder.of_stage("screen") if t.status == "FAILED"]
    assert failed and {t.failure_class for t in failed} == {"oom_host"}
    assert rank(failed) == []
    # It went as far as its memory: no further than where the cell breaks, and that is not the end.
    for trial in failed:
        run = world.run(PLANNER.plan(trial.arm, "screen", trial.params, trial.seed))
        assert run.out_of_memory_at is not None
        assert trial.epochs_done == int(run.out_of_memory_at * 1000)
        assert math.isnan(world.truth(PLANNER.plan("flow", "screen", trial.params, 0)))


def test_optuna_hears_of_stopped_trials_as_pruned_with_what_they_reached(tmp_path: Path) -> None:
    world = SyntheticWorld(SMALL, Shape(oom=0.15, nan=0.15), (4,))
    recorder = Recorder(MemoryLog())

    def study(sweep: Tune, known: list[TrialRecord]) -> Source:
        return Study(tmp_path, sweep, known)

    Simulation(ScreenAlone(SMALL, recorder, study, PLANNER), recorder, Cluster(world, 3)).run()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    trials = optuna.load_study(study_name=SMALL.name, storage=storage).trials
    frozen = {t.user_attrs["trial_id"]: t for t in trials if "trial_id" in t.user_attrs}
    states = {"COMPLETED": "COMPLETE", "STOPPED": "PRUNED", "FAILED": "FAIL"}
    ours = recorder.of_stage("screen")
    assert {t.status for t in ours} == states.keys()
    for trial in ours:
        told = frozen[trial.trial_id]
        assert told.state.name == states[trial.status]
        if trial.status == "STOPPED":
            assert max(told.intermediate_values) == trial.env_steps
            assert trial.env_steps >= trial.rungs[-1].milestone
            assert told.intermediate_values[trial.env_steps] == trial.score


SCHEDULES = dataclasses.replace(
    SMALL,
    space={
        "world_model.substeps": (1, 2, 4, 8),
        "wm_batch_size": (64, 128),
        "epochs": (1000, 2000, 4000, 8000),
    },
    fixed={"evaluation.every": 100},
    screen=Screen(trials=32, rungs=(0.125, 0.25, 0.5)),
)


class SharedBracket(Brackets):
    """All trials on the same rungs of raw steps, as schedulers know them that ask for one unit."""

    longest = 0

    def of(self, epochs: int, budget: int) -> Bracket:
        bracket = self._named("all")
        bracket.milestones = tuple(round(part * self.longest) for part in self.fractions)
        return bracket


def killed_best(shared: bool, worlds: int) -> tuple[float, float]:
    """The share of sweeps that stop their truly best cell, and the mean share of epochs done."""
    planner = Planner(SCHEDULES)
    plans = cells(SCHEDULES, planner)
    shape = Shape(rho=0.2, noise=0.1, anneal=4.0, oom=0.0, nan=0.0)
    killed, cost = [], []
    for seed in range(worlds):
        sweep = dataclasses.replace(SCHEDULES, search_seed=seed)
        world, recorder = SyntheticWorld(sweep, shape, (seed,)), Recorder(MemoryLog())
        stages = ScreenAlone(sweep, recorder, grid, planner)
        if shared:
            stages.brackets = SharedBracket(sweep.screen.rungs, sweep.screen.reduction)
            stages.brackets.longest = max(plan.budget for plan in plans)
        Simulation(stages, recorder, Cluster(world, 6)).run()
        best = max(plans, key=world.truth)
        killed.append(recorder.state.trials[best.trial_id].status == "STOPPED")
        cost += [t.epochs_done / t.config["epochs"] for t in recorder.trials()]
    return float(np.mean(killed)), float(np.mean(cost))


def test_a_bracket_for_every_schedule_spares_the_best_that_a_shared_one_kills() -> None:
    own, own_cost = killed_best(shared=False, worlds=20)
    shared, shared_cost = killed_best(shared=True, worlds=20)
    assert own < 0.2
    assert shared > 0.45
    assert own_cost < shared_cost


def test_a_longer_schedule_lags_at_equal_steps_and_is_ahead_at_its_end() -> None:
    planner = Planner(SCHEDULES)
    quiet = Shape(rho=0.0, noise=0.0, anneal=2.0, oom=0.0, nan=0.0)
    world = SyntheticWorld(SCHEDULES, quiet, (0,))
    short, long = (
        planner.plan("mlp", "confirm", {"wm_batch_size": 64, "epochs": epochs}, 1000)
        for epochs in (1000, 4000)
    )
    a, b = world.run(short), world.run(long)
    at = list(b.epochs).index(1000)
    # After 1,000 epochs the short run has all of the annealing behind it, the long one a quarter.
    assert a.returns[-1] > b.returns[at]
    assert b.returns[-1] > a.returns[-1]


def test_a_thousand_epochs_take_three_minutes_and_half_a_minute_a_velocity() -> None:
    world = SyntheticWorld(SMALL, HEALTHY, (0,))
    cell = {"world_model.integrator": "heun", "world_model.substeps": 4}
    plan = PLANNER.plan("flow", "screen", cell | {"wm_batch_size": 64, "epochs": 1000}, 0)
    assert plan.cost.nfe == 8
    assert world.run(plan).hours == pytest.approx((3 + 8 * 0.55) / 60)
    baseline = PLANNER.plan("mlp", "confirm", {"wm_batch_size": 64, "epochs": 1000}, 1000)
    assert world.run(baseline).hours == pytest.approx(3 / 60)


def test_a_run_depends_on_its_cell_and_seed_alone_and_seeds_have_the_scatter_asked_for() -> None:
    world = SyntheticWorld(SMALL, Shape(rho=1.5, noise=0.0, anneal=0.0, oom=0, nan=0), (0,))
    plan = PLANNER.plan("flow", "select", next(SMALL.cells()), 100)

    def end(seed: int, of: World = world) -> float:
        config = dataclasses.replace(plan.config, seed=seed)
        return float(of.run(dataclasses.replace(plan, config=config)).returns[-1])

    assert end(100) == end(100) != end(101)
    assert end(100) != end(100, SyntheticWorld(SMALL, HEALTHY, (1,)))
    # 200 seeds know their standard deviation to 5 %; 1 - e^-5 of it is learned by the end.
    assert np.std([end(seed) for seed in range(100, 300)]) == pytest.approx(1.5, rel=0.15)


def test_cells_differ_by_one_unit_and_the_middling_one_is_in_their_middle() -> None:
    quiet = Shape(rho=0.0, noise=0.0, anneal=1.0, oom=0.0, nan=0.0)
    worlds = [SyntheticWorld(SMALL, quiet, (seed,)) for seed in range(40)]
    truths = np.array([[world.truth(plan) - world.middle for plan in cells()] for world in worlds])
    assert truths.std() == pytest.approx(1.0, rel=0.1)
    assert truths.mean() == pytest.approx(0.0, abs=0.1)


def test_so_many_workers_run_so_many_trials_at_a_time() -> None:
    world = SyntheticWorld(SMALL, HEALTHY, (0,))
    one = Driver(world, workers=1).played()
    hours = sum(t.wall_time_s or 0.0 for t in one.recorder.trials()) / 3600
    assert one.cluster.now == pytest.approx(hours)
    four = Driver(world, workers=4).played()
    total = sum(t.wall_time_s or 0.0 for t in four.recorder.trials()) / 3600
    assert total / 4 <= four.cluster.now < total


def test_a_stage_that_waits_for_nothing_is_an_error() -> None:
    driver = Driver(SyntheticWorld(SMALL, HEALTHY, (0,)))
    driver.simulation.run(1)
    driver.cluster._running.clear()  # a cluster that loses its trials
    driver.cluster._queue.clear()
    with pytest.raises(RuntimeError, match="do not run"):
        driver.simulation.run()


@pytest.fixture(scope="module")
def settings() -> list[Setting]:
    return [
        Setting(
            dataclasses.replace(SMALL, search_seed=seed),
            SyntheticWorld(SMALL, Shape(rho=1.5), (seed,)),
            PLANNER,
            workers=4,
        )
        for seed in range(20)
    ]


def test_the_staged_report_is_honest_and_that_of_plain_asha_flatters(
    settings: list[Setting],
) -> None:
    ours = [outcome for each in settings if (outcome := staged(each)) is not None]
    honest = Estimate.of([outcome.optimism for outcome in ours])
    assert abs(honest.mean) < 3 * honest.se < 0.6
    plain = [RIVALS["asha"].play(each, Budget(6, 0.6)) for each in settings]
    flattered = Estimate.of([outcome.optimism for outcome in plain if outcome is not None])
    assert flattered.mean > 0.5
    assert flattered.mean > 5 * flattered.se


def test_rivals_spend_about_what_they_may(settings: list[Setting]) -> None:
    healthy = [
        dataclasses.replace(each, world=SyntheticWorld(SMALL, HEALTHY, (0,)))
        for each in settings[:3]
    ]
    for each in healthy:
        random, seeds = (RIVALS[name].play(each, Budget(9, 0.5)) for name in ("random", "seeds"))
        assert random is not None and seeds is not None
        assert (random.runs, random.screened) == (9.0, 9)
        assert seeds.runs == 9.0  # three cells on three seeds
        asha = RIVALS["asha"].play(each, Budget(6, 0.5))
        assert asha is not None
        assert asha.screened == 12 and 5 < asha.runs < 10


def test_random_search_draws_within_ranges_and_never_twice() -> None:
    ranges = {"optim.wm_lr": Range(1e-4, 1e-2, log=True), "wm_updates": Range(1, 8, integer=True)}
    endless = dataclasses.replace(SMALL, space=ranges | {"wm_batch_size": (64, 128)})
    search = RandomSearch(endless, [])
    drawn = [cell for _ in range(50) if (cell := search.next()) is not None]
    assert len({json.dumps(cell) for cell in drawn}) == 50
    assert all(1e-4 <= cell["optim.wm_lr"] <= 1e-2 for cell in drawn)
    assert {cell["wm_updates"] for cell in drawn} == set(range(1, 9))
    assert {cell["wm_batch_size"] for cell in drawn} == {64, 128}


def test_endless_spaces_are_simulated_too() -> None:
    ranges = {"optim.wm_lr": Range(1e-4, 1e-2, log=True), "epochs": (1000,)}
    endless = dataclasses.replace(SMALL, space=ranges, screen=Screen(trials=6))
    found = compare(
        endless, lambda rep: SyntheticWorld(endless, HEALTHY, (rep,)), reps=1, workers=4
    )
    assert found.best is None
    assert all(found.answered(name) == 1 for name in ("staged", *RIVALS))


def test_a_sweep_in_which_nothing_succeeds_has_no_answer() -> None:
    found = compare(
        SMALL, lambda rep: SyntheticWorld(SMALL, Shape(oom=1.0, nan=0.0), (rep,)), reps=1, workers=4
    )
    assert found.answered("staged") == 0
    assert math.isnan(found.estimate("staged", "value").mean)


def test_standard_errors_are_those_of_a_mean() -> None:
    # Squared deviations 4 + 1 + 0 + 9: variance 14 / 3.
    found = Estimate.of([1.0, 2.0, 3.0, 6.0])
    assert (found.mean, found.se) == (3.0, pytest.approx(math.sqrt(14 / 3) / 2))
    assert math.isnan(Estimate.of([1.0]).se)


def test_the_same_seed_says_the_same_and_another_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pages, files = [], []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        path = tmp_path / f"{name}.json"
        words = ["--reps", "2", "--seed", seed, "--against", "asha,seeds", "--json", str(path)]
        assert main([*WORDS, *words]) == ExitCode.OK
        pages.append(capsys.readouterr().out)
        files.append(path.read_text())
    assert pages[0] == pages[1] != pages[2]
    assert files[0] == files[1] != files[2]
    found = json.loads(files[0])
    assert list(found["strategies"]) == ["staged", "asha", "seeds"]
    assert found["strategies"]["staged"]["n"] == 2
    assert {"mean", "se"} == found["strategies"]["asha"]["optimism"].keys()
    assert found["sweep"]["screen"]["trials"] == 8
    assert "screen 8 of 12 cells" in pages[0]


def test_help_names_the_words_and_the_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    for word in ("screen.margin", "--recorded", "--rho", "standard deviations", "optimism"):
        assert word in page
    assert max(map(len, page.splitlines())) <= 100


def test_simulating_loads_no_ray() -> None:
    code = (
        "import sys, sweeps.core.simulate.__main__; print({'ray', 'analysis'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--reps", "0"], "argument --reps: must be a whole number of at least 1, got '0'"),
        (["--seed", "-1"], "argument --seed: must be a whole number of at least 0, got '-1'"),
        (["--workers", "x"], "argument --workers: must be a whole number of at least 1, got 'x'"),
        (["--rho", "-1"], "argument --rho: must be a number of at least 0, got -1"),
        (["--rho", "nan"], "argument --rho: must be a number of at least 0, got nan"),
        (["--oom", "1.5"], "argument --oom: must be a share from 0 to 1, got 1.5"),
        (["--oom", "0.7", "--nan", "0.7"], "--oom and --nan together are at most 1, got 1.4"),
        (["--noise", "much"], "argument --noise: must be a number, got 'much'"),
        (["--against", "hyperband"], "unknown rival 'hyperband'; known: asha, random, seeds, none"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--json", "missing/folder/a.json"], "--json missing/folder/a.json: no folder"),
        (["--json", "."], "--json .: is a folder"),
        (["--recorded", "missing"], "missing: no sweep there (No such file or directory"),
        (["screen.trials=0"], "screen.trials must be a whole number of at least 1, got 0"),
        (["screen.trails=3"], "unknown key 'screen.trails'. Did you mean 'screen.trials'?"),
        (["screen.rungs=[2]"], "screen.rungs must be fractions in (0, 1)"),
        (["confirm.seeds=[100]"], "confirm seed 100 is outside 1000"),
        (["substeps=[0]"], "substeps must be at least 1"),
        (["results=here"], "only key=value words of the sweep itself can be simulated"),
        (["task=walker"], "walker"),
    ],
)
def test_what_is_wrong_ends_in_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    (said,) = printed.err.splitlines()
    assert said.startswith("error: ") and line in said


def test_what_the_table_says_is_said_in_words() -> None:
    def outcomes(*values: float, optimism: float) -> list[Outcome | None]:
        return [Outcome(value, optimism, 10.0, 1.0, 1.0, 8, 8.0) for value in values]

    found = Comparison(
        {
            "staged": outcomes(2.0, 2.1, 2.2, optimism=0.0),
            "asha": outcomes(1.0, 1.1, 1.3, optimism=1.0),
            "random": outcomes(2.1, 2.0, 2.2, optimism=1.0),
        },
        None,
    )
    assert conclusions(found) == [
        "What the protocol reports is, on average, its pick's true value.",
        "Its pick is better than that of asha, by 0.97 ± 0.03.",
        "Between its pick and that of random these 3 worlds show no difference.",
    ]
