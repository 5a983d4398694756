"""Trials of earlier sweeps in a new screen: which fit and why not, their order, their rungs."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.core.definition.axes import Cell, Range
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.driver.warm_start import look_back, taken_over
from sweeps.core.protocol.grid import Grid, cell_key
from sweeps.core.protocol.past import best_first, cells_of, fit
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.rungs import Brackets, Decision
from sweeps.core.protocol.stages import TuneStages, enumerate_or
from sweeps.core.protocol.study import Study
from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import EventLog, fold, read_events
from sweeps.core.store.records import Past, Rung, TrialRecord
from sweeps.core.store.series import SeriesWriter
from tests.sweeps.protocol.test_sources import trials
from tests.sweeps.tiny import COMPARE, PLAN

SMALL = dataclasses.replace(
    PLAN,
    tasks=("point-mass",),
    space={"world_model.substeps": (1, 2, 4, 8), "epochs": (20,)},
    screen=Screen(trials=4, rungs=(0.25, 0.5)),
    select=Select(top=2, seeds=(100,)),
    confirm=Confirm(seeds=(1000,), episodes=3),
)
LARGE = dataclasses.replace(
    SMALL,
    space={"optim.wm_lr": Range(1e-4, 1e-2, log=True), "world_model.substeps": (1, 2, 4)},
    screen=Screen(trials=8),
)


def plan_of(sweep: Tune = SMALL, seed: int = 0, **cell: Any) -> Plan:
    whole = {"world_model.substeps": 2, "epochs": 20} | cell
    whole = {key: whole[key] for key in sweep.space}
    return make_plan(sweep, sweep.candidate, "screen", whole, seed)


def record_of(plan: Plan, status: str = "COMPLETED", score: float | None = 5.0) -> TrialRecord:
    planned = {"event": "planned", "time": "t", "trial_id": plan.trial_id} | plan.event()
    record = fold([planned]).trials[plan.trial_id]
    record.status, record.score = status, score
    return record


def past(substeps: int, score: float, status: str = "COMPLETED", **more: Any) -> Past:
    params = {"world_model.substeps": substeps, "epochs": 20}
    return Past(
        "run", f"c{substeps}-s0", f"c{substeps}", params, status, score, **{"exact": True} | more
    )


def test_a_trial_that_the_screen_would_run_fits_exactly() -> None:
    plan = plan_of()
    found = fit(SMALL, record_of(plan), {640: 3.0, 320: 1.0}, "run")
    assert isinstance(found, Past)
    assert found.exact and found.params == plan.cell and found.trial_id == plan.trial_id
    assert found.values == ((320, 1.0), (640, 3.0))
    assert Past.of(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(("status", "seed"), [("STOPPED", 0), ("COMPLETED", 7)])
def test_a_stopped_trial_or_one_of_another_tuning_seed_guides_but_is_not_taken_over(
    status: str, seed: int
) -> None:
    found = fit(SMALL, record_of(plan_of(seed=seed), status), {})
    assert isinstance(found, Past) and not found.exact


def test_trials_that_do_not_fit_have_a_reason() -> None:
    def why(record: TrialRecord, sweep: Tune = SMALL) -> Past | str:
        return fit(sweep, record, {})

    other = dataclasses.replace
    assert why(record_of(plan_of(other(SMALL, tasks=("reacher-easy",))))) == "other task"
    assert why(record_of(plan_of(), "FAILED")) == "failed or not finished"
    assert why(record_of(plan_of(), "INTERRUPTED")) == "failed or not finished"
    assert why(record_of(plan_of(), score=None)) == "without a score"
    reserved = "on a seed that is kept for select or confirm"
    assert why(record_of(plan_of(seed=100))) == why(record_of(plan_of(seed=1000))) == reserved
    base = make_plan(SMALL, "mlp", "confirm", {"epochs": 20}, 0)
    assert why(record_of(base)) == "other arm"
    wide = other(SMALL, space={"world_model.substeps": (3,), "epochs": (20,)})
    outside = record_of(plan_of(wide, **{"world_model.substeps": 3}))
    assert why(outside) == "outside the space (substeps)"
    horizon = other(SMALL, fixed={"horizon": 4, "wm_batch_size": 32})
    assert why(record_of(plan_of(horizon))) == "other horizon, wm_batch_size"
    often = other(SMALL, screen=other(SMALL.screen, episodes=77))
    assert why(record_of(plan_of(often))) == "evaluated otherwise (episodes)"
    capped = other(
        SMALL, space=SMALL.space | {"world_model.integrator": ("rk4", "euler")}, max_nfe=4
    )
    costly = plan_of(capped, **{"world_model.substeps": 4, "world_model.integrator": "rk4"})
    assert why(record_of(costly), capped) == "outside the space (max_nfe)"


def test_only_rungs_of_the_same_budget_and_milestone_are_kept() -> None:
    plan = plan_of()
    bracket = Brackets((0.25, 0.5), 2.0).of(20, plan.budget)
    first, second = bracket.milestones
    record = record_of(plan)
    at = [(bracket.name, first), (bracket.name, first + 1), ("40 epochs, 9 steps", second)]
    record.rungs = [Rung(plan.trial_id, b, m, 1.0, 1.0, "continue", 1) for b, m in at]
    found = fit(SMALL, record, {})
    assert isinstance(found, Past)
    assert [rung.milestone for rung in found.rungs] == [first]


def test_whole_runs_come_first_by_score_and_stopped_ones_by_how_far_they_came() -> None:
    late = past(4, 1.0, "STOPPED", values=((100, 1.0), (200, 1.0)))
    early = past(8, 9.0, "STOPPED", values=((100, 9.0),))
    good, better = past(1, 2.0), past(2, 3.0, "EVALUATED")
    assert best_first([early, good, late, better]) == [better, good, late, early]
    assert cells_of([good, better, good]) == [good.params, better.params]


def drain(grid: Grid) -> list[object]:
    cells = []
    while (cell := grid.next()) is not None:
        cells.append(cell["world_model.substeps"])
    return cells


def test_a_warm_grid_tries_the_better_half_of_what_is_known_then_the_unknown_then_the_rest() -> (
    None
):
    cold = drain(Grid(SMALL))
    known = cells_of([past(8, 9.0), past(1, 5.0), past(4, 1.0)])
    assert drain(Grid(SMALL, known=known)) == [8, 1, 2, 4]
    assert drain(Grid(SMALL, tried=known[:1], known=known)) == [1, 2, 4]
    assert drain(Grid(SMALL)) == cold


def test_a_warm_rung_judges_the_first_trial_that_reaches_it() -> None:
    def brackets(*earlier: Past) -> Brackets:
        made = Brackets((0.5,), 2.0)
        made.warm(earlier)
        return made

    name = brackets().of(20, 640).name
    rungs = [
        Rung(f"c{i}-s0", name, 320, score, None, "continue", 1)
        for i, score in enumerate((3.0, 5.0))
    ]
    earlier = [past(i, 0.0, rungs=(rung,)) for i, rung in enumerate(rungs)]

    def decide(trial: str, score: float, *known: Past) -> Decision:
        return brackets(*known).of(20, 640).judge(trial, 320, score)[0]

    assert decide("new", 1.0).go_on
    # Of 1, 3 and 5 two go on: the cut is at 3.
    assert (decide("new", 1.0, *earlier).go_on, decide("new", 1.0, *earlier).cutoff) == (False, 3.0)
    assert decide("new", 3.5, *earlier).go_on
    # The run that scored 3 then, run again: it is one of two, not one of three.
    assert (decide("c0-s0", 3.0, *earlier).go_on, decide("c0-s0", 3.0, *earlier).cutoff) == (
        False,
        5.0,
    )


def observations() -> list[Past]:
    def one(n: int, substeps: int, rate: float, score: float, status: str, **more: Any) -> Past:
        params = {"optim.wm_lr": rate, "world_model.substeps": substeps}
        return Past("run", f"c{n}-s0", f"c{n}", params, status, score, **{"exact": False} | more)

    return best_first(
        [
            one(1, 1, 1e-3, 5.0, "COMPLETED", values=((100, 2.0), (200, 5.0))),
            one(2, 2, 2e-3, 8.0, "EVALUATED"),
            one(3, 4, 5e-3, 1.0, "STOPPED", values=((100, 1.0),)),
        ]
    )


def test_a_warm_study_knows_earlier_trials_and_stopped_ones_as_pruned(tmp_path: Path) -> None:
    known = observations()
    Study(tmp_path, LARGE, past=known)
    told = trials(tmp_path, LARGE)
    assert [(t.state.name, t.value) for t in told] == [
        ("COMPLETE", 8.0),
        ("COMPLETE", 5.0),
        ("PRUNED", None),
    ]
    assert told[1].intermediate_values == {100: 2.0, 200: 5.0}
    assert told[2].intermediate_values == {100: 1.0}
    assert told[0].params == known[0].params
    Study(tmp_path, LARGE, past=known)  # a resume adds none of them again
    assert len(trials(tmp_path, LARGE)) == 3


def test_a_warm_study_proposes_the_best_again_and_then_what_nobody_tried(tmp_path: Path) -> None:
    known = observations()
    study = Study(tmp_path, LARGE, past=known)
    cells: list[Cell] = []
    for i in range(4):
        cell = study.next()
        assert cell is not None
        study.planned(f"t{i}")
        study.ended(f"t{i}", "COMPLETED", 1.0)
        cells.append(cell)
    assert cells[:2] == [known[0].params, known[1].params]  # select.top=2 of them
    seen = {cell_key(trial.params) for trial in known}
    assert not seen & {cell_key(cell) for cell in cells[2:]}
    resumed = Study(
        tmp_path, LARGE, [TrialRecord(f"t{i}", status="COMPLETED") for i in range(4)], known
    )
    assert cell_key(resumed.next() or {}) not in seen


def test_a_study_over_more_choices_starts_anew_with_what_the_sweep_tried(tmp_path: Path) -> None:
    study = Study(tmp_path, LARGE)
    for name in ("done", "open"):
        study.next()
        study.planned(name)
    study.ended("done", "COMPLETED", 4.0)
    cells = [dict(t.params) for t in trials(tmp_path, LARGE)]
    wider = dataclasses.replace(LARGE, space=LARGE.space | {"world_model.substeps": (1, 2, 4, 8)})
    records = [
        TrialRecord("done", status="COMPLETED", score=4.0, params=cells[0]),
        TrialRecord("open", status="INTERRUPTED", params=cells[1]),
    ]
    again = Study(tmp_path, wider, records)
    again.ended("open", "COMPLETED", 6.0)
    second = dataclasses.replace(wider, name=f"{wider.name}-2")
    told = trials(tmp_path, second)
    assert [(t.params, t.value) for t in told] == [(cells[0], 4.0), (cells[1], 6.0)]
    assert all(isinstance(t, optuna.trial.FrozenTrial) for t in told)
    assert again.next() is not None


def run_of(root: Path, name: str, plans: Iterator[Plan] | list[Plan], scores: list[float]) -> Path:
    """A run folder in which these trials came to their end, with rows."""
    folder = root / "flow_tuning" / name
    with EventLog(folder, "driver") as log:
        recorder = Recorder(log)
        recorder.sweep("sweep_started", spec=SMALL.to_dict())
        for plan, score in zip(plans, scores, strict=True):
            recorder.planned(plan)
            recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
            with SeriesWriter(folder, plan.trial_id, 1) as series:
                for epoch in (10, 20):
                    at = {"epoch": epoch, "env_steps": epoch * 32}
                    series.report(at | {"loss/actor": 1.5, "time/wall_s": 0.25})
                    series.evaluation(at | {"task": "point-mass", "return_mean": score, "n": 1})
                    told = at | {"attempt": 1, "score": score, "kind": "evaluated"}
                    recorder.progressed(plan.trial_id, told)
            end = {"attempt": 1, "epoch": 20, "env_steps": 640, "score": score}
            recorder.ended(plan.trial_id, "completed", end)
    (folder / "environment.json").write_text(json.dumps({"git": "abc"}))
    return folder


def test_what_is_found_below_a_results_folder_is_counted_with_reasons(tmp_path: Path) -> None:
    fits, other = plan_of(), dataclasses.replace(SMALL, tasks=("reacher-easy",))
    first = run_of(tmp_path, "a", [fits, plan_of(other)], [1.0, 2.0])
    second = run_of(tmp_path, "b", [plan_of(**{"world_model.substeps": 4}), fits], [3.0, 1.0])
    found = look_back(SMALL, tmp_path, {"git": "abc"})
    assert [trial.score for trial in found.trials] == [3.0, 1.0]
    assert found.trials[0].values == ((320, 3.0), (640, 3.0))
    said = " ".join(" ".join(found.rows(SMALL)).split())
    assert "1 of 2 trials of flow_tuning/a used; 1 left out: 1 other task" in said
    assert "1 of 2 trials of flow_tuning/b used; 1 left out: 1 known from another run" in said
    assert "screening only" in said and "up to 2 results are taken over" in said
    assert found.warnings == ()
    (warning,) = look_back(SMALL, second, {"git": "def"}).warnings
    assert "flow_tuning/b ran with code abc, here it is def" in warning
    cold = look_back(dataclasses.replace(SMALL, tasks=("cheetah-run",)), first, {"git": "abc"})
    assert cold.trials == () and "starts cold" in cold.warnings[0]


def test_a_warm_start_wants_runs_and_something_to_screen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run of a sweep there"):
        look_back(SMALL, tmp_path / "nowhere", {})
    with pytest.raises(UsageError, match="it has no screening"):
        look_back(COMPARE, tmp_path, {})


def test_a_result_is_taken_over_with_its_rows_and_never_outside_the_screen(tmp_path: Path) -> None:
    plans = [plan_of(**{"world_model.substeps": k}) for k in (1, 2)]
    source = run_of(tmp_path, "old", plans, [1.0, 7.0])
    folder = tmp_path / "flow_tuning" / "new"
    with EventLog(folder, "driver") as log:
        recorder = Recorder(log)
        recorder.sweep("sweep_started", spec=SMALL.to_dict())
        recorder.sweep("warm_started", **look_back(SMALL, source, {}).event())

        def take(trial_id: str) -> bool:
            return taken_over(folder, recorder, trial_id)

        def never(sweep: Tune, known: list[TrialRecord]) -> Any:
            raise AssertionError("a small grid is enumerated")

        source_maker = enumerate_or(never, recorder.state.past)
        stages = TuneStages(SMALL, recorder, source_maker, taken_over=take)
        for plan in stages.plans():
            assert plan is not None
            recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
            score = {"epoch": 20, "env_steps": 640, "score": 2.0, "attempt": 1}
            recorder.ended(plan.trial_id, "completed", score)
    state = fold(read_events(folder))
    taken = {t.trial_id for t in state.trials.values() if t.taken_from}
    assert taken == {plan.trial_id for plan in plans}
    assert {state.trials[name].taken_from for name in taken} == {"flow_tuning/old"}
    begun = {e["trial_id"] for e in read_events(folder) if e["event"] == "started"}
    assert not taken & begun
    assert {t.stage for t in state.trials.values() if t.trial_id in begun} == {
        "screen",
        "select",
        "confirm",
    }
    # The best of the earlier sweep is selected from here, on runs of its own.
    assert plans[1].config_id in {t.config_id for t in state.trials.values() if t.stage == "select"}
    ours, theirs = (read_tables(path, trials=sorted(taken)) for path in (folder, source))
    for kind in ("reports", "evals"):
        assert getattr(ours, kind).equals(getattr(theirs, kind))
    scores = {row["trial_id"]: row["score"] for row in ours.trials.to_pylist()}
    assert scores == {plans[0].trial_id: 1.0, plans[1].trial_id: 7.0}


def test_a_resume_knows_the_past_without_the_earlier_folder(tmp_path: Path) -> None:
    source = run_of(tmp_path, "old", [plan_of()], [7.0])
    found = look_back(SMALL, source, {})
    with EventLog(tmp_path / "new", "driver") as log:
        Recorder(log).sweep("warm_started", **found.event())
    assert tuple(fold(read_events(tmp_path / "new")).past) == found.trials
