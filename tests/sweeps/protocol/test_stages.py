"""The stages over real events, with the trials' results put in by hand."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.core.definition.growth import Growth, grow
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.protocol.grid import Source
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.rungs import Decision
from sweeps.core.protocol.stages import NothingSucceeded, TuneStages, enumerate_or
from sweeps.core.store.events import EventLog, fold, read_events
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN

SMALL = dataclasses.replace(
    PLAN,
    tasks=("point-mass",),
    space={"world_model.substeps": (1, 2, 4), "epochs": (20,)},
    screen=Screen(trials=3, rungs=(0.5,)),
    select=Select(top=2, seeds=(100, 101)),
    confirm=Confirm(seeds=(1000, 1001), episodes=3),
)


def never(sweep: Tune, known: list[TrialRecord]) -> Source:
    raise AssertionError("a small grid is enumerated")


class Driver:
    """One driver process' worth of stages over the run folder."""

    def __init__(self, folder: Path, sweep: Tune = SMALL) -> None:
        self.log = EventLog(folder, "driver")
        self.recorder = Recorder(self.log, read_events(folder))
        self.stages = TuneStages(sweep, self.recorder, enumerate_or(never))
        self.plans: Iterator[Plan | None] = self.stages.plans()

    def next(self) -> Plan:
        plan = next(self.plans)
        assert plan is not None
        return plan

    def end(self, plan: Plan, score: float | None, event: str = "completed") -> None:
        result = {"attempt": 1, "epoch": 20, "env_steps": 640, "score": score}
        self.recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
        self.recorder.ended(plan.trial_id, event, result)


def stage(plans: list[Plan]) -> list[tuple[str, str, int, object]]:
    return [(p.stage, p.arm, p.config.seed, p.cell.get("world_model.substeps", "-")) for p in plans]


def screen(driver: Driver, scores: dict[int, float]) -> None:
    for _ in scores:
        plan = driver.next()
        driver.end(plan, scores[plan.cell["world_model.substeps"]])


def test_the_best_of_the_screen_are_selected_from_and_the_winner_meets_the_baseline(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path)
    screen(driver, {1: 5.0, 2: 9.0, 4: 7.0})
    selected = [driver.next() for _ in range(4)]
    assert stage(selected) == [
        ("select", "flow", 100, 2),
        ("select", "flow", 100, 4),
        ("select", "flow", 101, 2),
        ("select", "flow", 101, 4),
    ]
    for plan, score in zip(selected, [6.0, 7.0, 6.5, 7.5], strict=True):
        driver.end(plan, score)
    confirmed = [driver.next() for _ in range(4)]
    assert stage(confirmed) == [
        ("confirm", "flow", 1000, 4),
        ("confirm", "mlp", 1000, "-"),
        ("confirm", "flow", 1001, 4),
        ("confirm", "mlp", 1001, "-"),
    ]
    # The baseline takes the winner's shared values, and both are tested on more episodes.
    assert [p.config.epochs for p in confirmed] == [20] * 4
    assert {p.config.evaluation.episodes for p in confirmed} == {3}
    assert selected[1].config_id == confirmed[0].config_id != confirmed[1].config_id
    for plan in confirmed:
        driver.end(plan, 1.0)
    assert next(driver.plans, "over") == "over"
    assert driver.recorder.state.stages == {
        "screen": "finished",
        "select": "finished",
        "confirm": "finished",
    }


def test_a_stage_waits_for_the_trials_that_run(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    running = [driver.next() for _ in range(3)]
    assert next(driver.plans) is None
    for plan in running[:2]:
        driver.end(plan, 1.0)
    assert next(driver.plans) is None
    driver.end(running[2], 2.0)
    assert driver.next().stage == "select"


def test_a_failed_trial_does_not_stop_the_others(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    first, second, third = (driver.next() for _ in range(3))
    driver.end(first, None, "failed")
    driver.end(second, 1.0)
    driver.end(third, 2.0, "stopped")
    finalists = [driver.next().config_id, driver.next().config_id]
    assert finalists == [second.config_id, third.config_id]


def test_a_screen_without_a_score_is_the_end(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    for plan in [driver.next() for _ in range(3)]:
        driver.end(plan, None, "failed")
    with pytest.raises(NothingSucceeded, match="stage screen"):
        next(driver.plans)


def test_a_resume_repeats_nothing_and_keeps_every_decision(tmp_path: Path) -> None:
    first = Driver(tmp_path)
    done, running, _ = (first.next() for _ in range(3))
    first.end(done, 5.0)
    first.recorder.started(running.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
    first.log.close()

    second = Driver(tmp_path)
    left = [second.next(), second.next()]
    assert done.trial_id not in {plan.trial_id for plan in left}
    assert left[0].trial_id == running.trial_id and left[0].config == running.config
    for plan in left:
        second.end(plan, 1.0)
    selecting = second.next()
    assert selecting.stage == "select"
    second.log.close()

    third = Driver(tmp_path)
    assert third.next().trial_id == selecting.trial_id
    assert [plan.stage for plan in (third.next(), third.next(), third.next())] == ["select"] * 3
    events = [e for e in read_events(tmp_path) if e["event"] in ("planned", "selected")]
    trials = [e["trial_id"] for e in events if e["event"] == "planned"]
    assert len(trials) == len(set(trials)) == 7
    assert sum(e["event"] == "selected" for e in events) == 1


def test_a_trial_that_a_rung_stopped_is_not_started_again(tmp_path: Path) -> None:
    first = Driver(tmp_path)
    stopped = first.next()
    first.recorder.started(stopped.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
    bracket = first.stages.brackets.of(20, stopped.budget)
    first.recorder.decided(
        Decision(bracket.name, bracket.milestones[0], stopped.trial_id, 1.0, 2.0, go_on=False),
        {"epoch": 5, "env_steps": 160},
    )
    first.log.close()  # killed before Tune told that the trial had stopped

    second = Driver(tmp_path)
    assert second.next().trial_id != stopped.trial_id
    record = second.recorder.state.trials[stopped.trial_id]
    assert (record.status, record.score) == ("STOPPED", 1.0)
    assert (record.epochs_done, record.env_steps) == (5, 160)
    # Its score still counts at the rung: the same score goes on, a lower one does not.
    again = second.stages.brackets.of(20, stopped.budget)
    milestone = again.milestones[0]
    assert again.judge("equal", milestone, 1.0)[0].go_on
    assert not again.judge("lower", milestone, 0.5)[0].go_on


def extended(folder: Path, growth: Growth[Tune]) -> Driver:
    """The driver that goes on with a sweep to which something was added."""
    with EventLog(folder, "driver") as log:
        spec = growth.sweep.to_dict()
        log.append("extended", spec=spec, added=growth.added, stages=growth.stages)
        log.append("resumed")
    return Driver(folder, growth.sweep)


def play(driver: Driver, scores: dict[object, float]) -> list[Plan]:
    """Run to the end; a trial scores what its substeps (the baseline: "-") do."""
    plans = []
    while (plan := next(driver.plans, "over")) != "over":
        assert isinstance(plan, Plan)
        driver.end(plan, scores[plan.cell.get("world_model.substeps", "-")])
        plans.append(plan)
    driver.log.close()
    return plans


FEWER = dataclasses.replace(SMALL, screen=Screen(trials=2, rungs=()))
MORE = dataclasses.replace(FEWER, screen=Screen(trials=3, rungs=()))
ALSO = dataclasses.replace(MORE, confirm=Confirm(seeds=(1000, 1001, 1002, 1003), episodes=3))


def test_a_winner_that_stays_meets_the_baseline_on_the_added_seeds_too(tmp_path: Path) -> None:
    first = play(Driver(tmp_path, FEWER), {1: 9.0, 2: 8.0, 4: 7.0, "-": 0.0})
    second = play(extended(tmp_path, grow(FEWER, ALSO)), {1: 9.0, 2: 8.0, 4: 7.0, "-": 0.0})
    assert not {p.trial_id for p in first} & {p.trial_id for p in second}
    new = [p for p in second if p.stage == "confirm"]
    assert [(p.arm, p.config.seed) for p in new] == [
        ("flow", 1002), ("mlp", 1002), ("flow", 1003), ("mlp", 1003),
    ]  # fmt: skip
    state = fold(read_events(tmp_path))
    assert len(state.winners) == 1 and state.spent_seeds == frozenset()


def test_another_winner_is_tested_where_nobody_has_looked(tmp_path: Path) -> None:
    first = play(Driver(tmp_path, FEWER), {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0})
    tried = {p.cell["world_model.substeps"] for p in first if p.stage == "screen"}
    (missing,) = {1, 2, 4} - tried
    scores: dict[object, float] = {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0} | {missing: 9.0}
    second = play(extended(tmp_path, grow(FEWER, ALSO)), scores)
    assert [p.cell["world_model.substeps"] for p in second if p.stage == "screen"] == [missing]
    # The finalist that is new on both seeds of select; those of before have run there.
    selected = [
        (p.cell["world_model.substeps"], p.config.seed) for p in second if p.stage == "select"
    ]
    assert selected == [(missing, 100), (missing, 101)]
    confirmed = [
        (p.arm, p.config.seed, p.cell.get("world_model.substeps"))
        for p in second
        if p.stage == "confirm"
    ]
    assert confirmed == [
        ("flow", 1002, missing), ("mlp", 1002, None), ("flow", 1003, missing), ("mlp", 1003, None),
    ]  # fmt: skip
    state = fold(read_events(tmp_path))
    assert len(state.winners) == 2 and state.spent_seeds == {1000, 1001}
    assert (state.extensions[0].scored, state.extensions[0].seeds) == (4, (1000, 1001))


def test_more_seeds_alone_choose_nothing_again(tmp_path: Path) -> None:
    wider = dataclasses.replace(FEWER, confirm=ALSO.confirm)
    play(Driver(tmp_path, FEWER), {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0})
    second = play(extended(tmp_path, grow(FEWER, wider)), {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0})
    assert [(p.stage, p.config.seed) for p in second] == [
        ("confirm", 1002), ("confirm", 1002), ("confirm", 1003), ("confirm", 1003),
    ]  # fmt: skip
    assert sum(e["event"] == "selected" for e in read_events(tmp_path)) == 2


def test_tests_of_a_winner_that_is_replaced_are_not_gone_on_with(tmp_path: Path) -> None:
    first = Driver(tmp_path, FEWER)
    scores: dict[object, float] = {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0}
    tried = set()
    while (plan := first.next()).stage != "confirm":
        tried.add(plan.cell["world_model.substeps"])
        first.end(plan, scores[plan.cell["world_model.substeps"]])
    first.log.close()  # all tests are planned, none has begun
    scores[({1, 2, 4} - tried).pop()] = 9.0
    second = play(extended(tmp_path, grow(FEWER, ALSO)), scores)
    assert {p.config.seed for p in second if p.stage == "confirm"} == {1002, 1003}
    statuses = {
        t.seed: t.status
        for t in fold(read_events(tmp_path)).trials.values()
        if t.stage == "confirm"
    }
    assert statuses == {1000: "CANCELLED", 1001: "CANCELLED", 1002: "COMPLETED", 1003: "COMPLETED"}


def test_a_resume_within_an_extension_knows_whose_seeds_are_spent(tmp_path: Path) -> None:
    play(Driver(tmp_path, FEWER), {1: 1.0, 2: 2.0, 4: 3.0, "-": 0.0})
    growth = grow(FEWER, ALSO)
    second = extended(tmp_path, growth)
    while (plan := second.next()).stage != "confirm":
        second.end(plan, 9.0)
    second.end(plan, 9.0)
    second.log.close()
    third = Driver(tmp_path, growth.sweep)
    left = play(third, dict.fromkeys([1, 2, 4, "-"], 5.0))
    assert {p.stage for p in left} == {"confirm"} and plan.trial_id not in {
        p.trial_id for p in left
    }
    assert {p.config.seed for p in left} == {1002, 1003}


def names(plan: Plan) -> list[tuple[str, int]]:
    return [(each.arm, each.config.seed) for each in plan.all]


def test_seeds_of_a_configuration_are_handed_out_as_programs_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    sweep = dataclasses.replace(
        SMALL, seeds_per_program=2, confirm=Confirm(seeds=(1000, 1001, 1002), episodes=3)
    )
    driver = Driver(tmp_path, sweep)
    screened = [driver.next() for _ in range(3)]
    assert [len(plan.all) for plan in screened] == [1, 1, 1], "rungs end trials one by one"
    for plan, score in zip(screened, (5.0, 9.0, 7.0), strict=True):
        driver.end(plan, score)
    selected = [driver.next() for _ in range(2)]
    assert [names(plan) for plan in selected] == [[("flow", 100), ("flow", 101)]] * 2
    for plan in selected:
        assert len({each.config_id for each in plan.all}) == 1
        alone, both = plan.fellows[0].resources, plan.resources
        assert alone.memory_bytes < both.memory_bytes < 2 * alone.memory_bytes
        assert both.num_cpus == alone.num_cpus
        for each in plan.all:
            driver.end(each, 9.0 if each.cell["world_model.substeps"] == 2 else 7.0)
    confirmed = [driver.next() for _ in range(4)]
    assert [names(plan) for plan in confirmed] == [
        [("flow", 1000), ("flow", 1001)],
        [("mlp", 1000), ("mlp", 1001)],
        [("flow", 1002)],
        [("mlp", 1002)],
    ]


def test_a_resumed_program_leaves_out_who_is_done_and_who_failed_before(tmp_path: Path) -> None:
    sweep = dataclasses.replace(
        SMALL, seeds_per_program=8, confirm=Confirm(seeds=(1000, 1001, 1002, 1003), episodes=3)
    )
    first = Driver(tmp_path, sweep)
    screen(first, {1: 5.0, 2: 9.0, 4: 7.0})
    for plan in [first.next() for _ in range(2)]:
        for each in plan.all:
            first.end(each, 5.0)
    flow, mlp = first.next(), first.next()
    assert len(mlp.all) == len(flow.all) == 4
    first.end(mlp, 5.0)
    lost = mlp.fellows[0]
    first.recorder.started(lost.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
    why = {"failure_class": "oom_host", "message": "killed", "attempt": 1}
    first.recorder.requeued(
        lost.trial_id, why, {"step": "alone"} | {"resources": lost.resources.to_dict()}
    )
    second = Driver(tmp_path, sweep)
    plans = [second.next() for _ in range(3)]
    assert [names(plan) for plan in plans] == [
        [("flow", seed) for seed in (1000, 1001, 1002, 1003)],
        [("mlp", 1001)],
        [("mlp", 1002), ("mlp", 1003)],
    ]
