"""Forecasts: sums worked by hand, corrections by what ran, and a canary that really trains."""

import dataclasses
import json
from datetime import datetime
from pathlib import Path

import pytest

from flowpwm.compose import compose
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from flowpwm.work import Phases, Work
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import parse
from sweeps.core.definition.compare import Compare, Confirm
from sweeps.core.definition.quantity import hours_text
from sweeps.core.definition.tune import Screen
from sweeps.core.forecast import canary
from sweeps.core.forecast.forecast import (
    Forecast,
    Range,
    configurations,
    expected_share,
    forecast,
    forecast_text,
    makespan,
    run_seconds,
    size_text,
)
from sweeps.core.forecast.outlook import look_ahead, representatives
from sweeps.core.forecast.rates import (
    NOMINAL,
    START_S,
    Correction,
    Measured,
    Rates,
    correction,
    warmup_share,
)
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.protocol.requests import NOTHING_KNOWN
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN, RUN

TINY = {
    key: json.loads(text) if text[0] in "[0123456789" else text
    for key, _, text in (word.partition("=") for word in RUN)
}


def tiny(kind: str = "flow", **changes: object) -> RunConfig:
    return compose(f"point-mass {kind}", TINY | {"epochs": 200} | changes)


def comparison(epochs: int) -> Compare:
    """Six trials: both arms on three seeds."""
    return Compare(
        name="single_task",
        tasks=("point-mass",),
        presets="",
        arms={"mlp": "mlp", "flow": "flow"},
        baseline="mlp",
        fixed=TINY | {"epochs": epochs},
        confirm=Confirm(seeds=(1, 2, 3)),
    )


def measured(config: RunConfig, environment_s: float, learning_s: float) -> Measured:
    return Measured(config, estimate(config), environment_s, learning_s)


def test_rates_price_each_kind_of_work() -> None:
    assert Rates(1.0, 10.0, 100.0).of(Work(flops=1, numbers=2, calls=3)) == 1 + 20 + 300


def test_a_run_is_its_epochs_its_evaluations_and_its_start() -> None:
    config = tiny(epochs=100)  # evaluations after epochs 10, 20, ..., 100
    found = Correction()
    each = found.seconds(config, estimate(config))
    assert each.environment > 4 * 8 * 5e-5  # 32 environment steps an epoch, and some acting
    expected = START_S + 100 * (each.environment + each.learning) + 10 * each.evaluation
    # 5 extra updates of the world model, of one an epoch.
    warm = warmup_share(config, estimate(config))
    assert 0 < warm < 5
    assert run_seconds(config, estimate(config), found) == pytest.approx(
        expected + warm * each.learning
    )


def test_threads_share_the_products_and_nothing_else() -> None:
    one, four = tiny(), tiny(num_threads=4)
    work = estimate(one).work
    learning = work.world_model.plus(work.actor, work.critic)
    saved = (
        Correction().seconds(one, estimate(one)).learning
        - Correction().seconds(four, estimate(four)).learning
    )
    assert saved == pytest.approx(0.75 * learning.flops * NOMINAL["cpu"].flop)


def test_what_ran_corrects_what_will_run() -> None:
    flow, mlp = tiny("flow"), tiny("mlp")
    plain = {c: Correction().seconds(c, estimate(c)) for c in (flow, mlp)}
    found = correction(
        [measured(flow, 1.0, 3 * plain[flow].learning), measured(mlp, 1.0, plain[mlp].learning)],
        "by hand",
    )
    assert found.learning == pytest.approx({"flow": 3.0, "mlp": 1.0})
    seconds = found.seconds(flow, estimate(flow))
    assert seconds.learning == pytest.approx(3 * plain[flow].learning)
    # Between both: an epoch's second in the environment, less the networks' share of acting.
    assert seconds.environment == pytest.approx(1.0, rel=0.02)
    assert found.source == "by hand" and found.spread == 1.35
    # A kind that was never measured takes after those that were.
    other = Correction(learning={"flow": 4.0, "mlp": 1.0})
    assert other.seconds(
        dataclasses.replace(mlp, world_model=dataclasses.replace(mlp.world_model, kind="new")),
        estimate(mlp),
    ).learning == pytest.approx(2 * plain[mlp].learning)


def test_the_range_is_as_wide_as_what_ran_is_scattered() -> None:
    config = tiny()
    said = Correction().seconds(config, estimate(config))
    alike = [measured(config, said.environment, said.learning * f) for f in (1, 1, 1, 1, 1)]
    apart = [measured(config, said.environment, said.learning * f) for f in (0.2, 0.5, 1, 2, 5)]
    assert correction(alike, "").spread == 1.15
    assert 2 < correction(apart, "").spread < 5
    assert correction([], "").spread == 2.0


@pytest.mark.parametrize(
    ("times", "slots", "seconds"),
    [([5, 5, 5], 1, 15), ([5, 5, 5], 2, 10), ([8, 2, 2, 2], 2, 8), ([], 4, 0), ([3], 8, 3)],
)
def test_makespan_of_trials_in_order(times: list[float], slots: int, seconds: float) -> None:
    assert makespan(times, slots) == seconds


def test_rungs_save_what_they_stop() -> None:
    # All run a quarter, half of them another quarter, a quarter of them the rest.
    assert expected_share(Screen(rungs=(0.25, 0.5), reduction=2)) == 0.25 + 0.125 + 0.125
    assert expected_share(Screen(rungs=())) == 1.0


def test_a_comparison_is_forecast_trial_by_trial() -> None:
    sweep = comparison(50)
    checked = check(sweep)
    each = [run_seconds(p.config, p.cost, Correction()) for p in checked.plans]
    told = forecast(sweep, checked, 1, Correction())
    assert told.wall_s.est == pytest.approx(3 * sum(each))
    assert told.hours.est == pytest.approx(3 * sum(each) / 3600)
    assert (told.wall_s.low, told.wall_s.high) == pytest.approx(
        (told.wall_s.est / 2, told.wall_s.est * 2)
    )
    assert told.device == "CPU"
    # One run at a time holds its buffer, the largest first; of the other five networks are left.
    largest = max(checked.plans, key=lambda p: p.cost.checkpoint_bytes).cost
    kept = 3 * sum(p.cost.kept_bytes for p in checked.plans)
    assert told.checkpoint_bytes == kept + largest.checkpoint_bytes - largest.kept_bytes
    # Six trials on three slots: each takes two in a row.
    assert forecast(sweep, checked, 3, Correction()).wall_s.est < 0.5 * told.wall_s.est
    # An unknown number of slots: one stands for it, and the text says so.
    unknown = forecast(sweep, checked, 0, Correction())
    assert (unknown.slots, unknown.wall_s, unknown.hours) == (0, told.wall_s, told.hours)
    text = forecast_text(unknown, 10**12, datetime(2026, 1, 5, 8, 0))
    assert "with one trial at a time; checkpoints" in text and "ends" not in text


def test_seeds_of_one_program_start_the_kernels_of_their_updates_once() -> None:
    config = tiny(device="cuda")
    cost, found = estimate(config), Correction()
    alone, of_three = found.seconds(config, cost), found.seconds(config, cost, 3)
    updates = cost.work.world_model.plus(cost.work.actor, cost.work.critic)
    saved = 2 / 3 * updates.calls * NOMINAL["cuda"].call
    assert of_three.learning == pytest.approx(alone.learning - saved)
    assert (of_three.environment, of_three.evaluation) == (alone.environment, alone.evaluation)
    # What such a seed took is its share, and says the same of runs alone.
    run = dataclasses.replace(measured(config, 1.0, 2 * of_three.learning), together=3)
    assert correction([run], "").learning == pytest.approx({"flow": 2.0})


def test_programs_are_forecast_by_what_they_save_and_by_what_they_fill() -> None:
    sweep = comparison(50)
    fixed = sweep.fixed | {"device": "cuda"}
    # Four single trials fit on a GPU, and one program of three.
    sweep = dataclasses.replace(sweep, fixed=fixed, gpus_per_trial=0.25, seeds_per_program=3)
    checked = check(sweep)
    told = forecast(sweep, checked, 4, Correction())
    programs = checked.programs(sweep, NOTHING_KNOWN)
    assert [len(plan.all) for plan in programs] == [3, 3]
    each = [run_seconds(p.config, p.cost, Correction(), 3) for p in programs]
    assert told.device == "GPU"
    assert told.hours.est == pytest.approx(0.75 * sum(each) / 3600)
    assert told.wall_s.est == pytest.approx(sum(each))
    # All three of a program are at work, and hold their buffers.
    costs = [plan.cost for plan in sorted(checked.plans, key=lambda p: p.cost.checkpoint_bytes)]
    assert told.checkpoint_bytes == 3 * costs[1].checkpoint_bytes + 3 * costs[0].kept_bytes


def test_a_tuning_is_forecast_between_all_stopped_and_none() -> None:
    checked = check(PLAN)
    told = forecast(PLAN, checked, 2, Correction())
    without = dataclasses.replace(PLAN, screen=dataclasses.replace(PLAN.screen, rungs=()))
    unstopped = forecast(without, check(without), 2, Correction())
    assert told.wall_s.est < unstopped.wall_s.est
    assert told.wall_s.high == pytest.approx(2 * unstopped.wall_s.est)
    assert told.source == "nominal rates, nothing measured"


def test_a_forecast_reads_as_a_sentence() -> None:
    told = Forecast(
        "GPU", Range(118, 100, 141), Range(52_920, 50_000, 60_000), 21 * 10**9, 4 * 10**8, 8, "x"
    )
    text = forecast_text(told, 310 * 10**9, datetime(2026, 1, 5, 8, 0))
    assert text == (
        "118 GPU-hours (100 to 141), wall 14h42m (13h53m to 16h40m), ends 22:42 "
        "(21:53 to 00:40); checkpoints up to 21 GB, results 400 MB (free 310 GB)   [x]"
    )


@pytest.mark.parametrize(
    ("amount", "text"),
    [(1500, "1.5 kB"), (2.5e6, "2.5 MB"), (3.14159e9, "3.14 GB"), (4e12, "4 TB")],
)
def test_sizes_are_told_in_a_unit_that_fits(amount: float, text: str) -> None:
    assert size_text(amount) == text


def test_representatives_are_of_every_kind_and_fill_the_machine() -> None:
    checked = check(PLAN)
    kinds = [plan.config.world_model.kind for plan in representatives(checked, 2)]
    assert sorted(kinds) == ["flow", "mlp"]
    assert len(representatives(checked, 1)) == 1


def test_a_canary_trains_and_measures_and_tells_of_a_failure() -> None:
    plan = check(comparison(400)).of("flow")
    broken = dataclasses.replace(
        plan, arm="broken", config=dataclasses.replace(plan.config, device="cuda")
    )
    found, problems = canary.measure([plan, broken], seconds=1.0)
    (one,) = found
    assert 0 < one.environment_s < 1 and 0 < one.learning_s < 1
    assert one.evaluation_s is not None and one.evaluation_s > 0
    assert 10**8 < one.host_peak_bytes < 10**10
    assert len(problems) == 1 and problems[0].startswith("canary of broken failed: ")


def test_a_canary_ends_when_the_sweep_is_stopped() -> None:
    checked = check(PLAN)
    found, problems = canary.measure([checked.largest], 60.0, should_stop=lambda: True)
    assert found == [] and len(problems) == 1


def test_without_a_past_and_without_a_canary_the_forecast_is_nominal(tmp_path: Path) -> None:
    seen = look_ahead(PLAN, check(PLAN), 2, tmp_path, {"cpus": 2}, with_canary=False)
    assert seen.forecast.source == "nominal rates, nothing measured" and seen.findings == ()


def record(
    stage: str, status: str, epochs_done: int, seconds: float | None, number: int
) -> TrialRecord:
    config = tiny(seed=number)
    return TrialRecord(
        f"c{number}-s0",
        stage=stage,
        status=status,
        config_id="c1",
        config=json.loads(json.dumps(dataclasses.asdict(config))),
        epochs_done=epochs_done,
        wall_time_by_attempt_s={} if seconds is None else {1: seconds},
    )


def remaining(spread: float = 2.0) -> tuple[Remaining, float]:
    """Of a sweep of six trials on two slots; and the forecast of one of them."""
    sweep = comparison(200)
    found = Correction(spread=spread)
    whole = run_seconds(tiny(), estimate(tiny()), found)
    return Remaining(sweep, forecast(sweep, check(sweep), 2, found), found), whole


def test_before_anything_ran_the_rest_is_the_forecast() -> None:
    left, whole = remaining()
    assert left.seconds([]) is None
    trials = [record("confirm", "PENDING", 0, None, n) for n in range(6)]
    told = left.seconds(trials)
    assert told is not None
    assert told.est == pytest.approx(3 * (whole - START_S))
    assert (told.low, told.high) == pytest.approx((told.est / 2, told.est * 2))


def test_slow_trials_make_the_rest_long() -> None:
    left, whole = remaining()
    slow = 60 / whole + 3  # so many times slower than forecast, and settled
    done = [record("confirm", "COMPLETED", 200, slow * whole, n) for n in range(3)]
    rest = [record("confirm", "PENDING", 0, None, n) for n in range(3, 6)]
    told = left.seconds([*done, *rest])
    assert told is not None
    assert told.est == pytest.approx(2 * slow * (whole - START_S))
    # Three trials of one speed: the range is narrow.
    assert told.high / told.est == pytest.approx(1.1)


def test_a_trial_that_is_half_done_has_half_left() -> None:
    left, whole = remaining()
    trials = [record("confirm", "RUNNING", 100, 0.5 * whole, 0)]
    trials += [record("confirm", "COMPLETED", 200, whole, n) for n in range(1, 6)]
    told = left.seconds(trials)
    assert told is not None
    pace = 1.0  # on forecast, whether settled or not
    assert told.est == pytest.approx(0.5 * whole * pace)


def test_seeds_that_share_processes_are_as_slow_as_they_are_many() -> None:
    left, whole = remaining()
    # Two processes of three seeds each, half done: each seed paid for a third of its process.
    trials = [record("confirm", "RUNNING", 100, 0.5 * whole, n) for n in range(6)]
    for trial in trials:
        trial.together = 3
    told = left.seconds(trials)
    assert told is not None
    assert told.est == pytest.approx(3 * 0.5 * whole)


def test_a_program_that_fills_a_gpu_is_not_expected_to_share_it() -> None:
    left, whole = remaining()  # two trials at a time, of half a GPU each
    trials = [record("confirm", "RUNNING", 100, 0.5 * whole, n) for n in range(3)]
    for trial in trials:
        trial.together, trial.attempt = 3, 1
        trial.resources, trial.gpus_by_attempt = {"num_gpus": 0.5}, {1: 1.0}
    trials += [record("confirm", "COMPLETED", 200, whole, n) for n in range(3, 6)]
    told = left.seconds(trials)
    assert told is not None
    assert told.est == pytest.approx(3 * 0.5 * whole)


def test_phases_add_up_to_an_epoch() -> None:
    one = Work(1, 2, 3)
    assert Phases(one, one, one, one, Work(9, 9, 9)).epoch == Work(4, 8, 12)


def test_the_table_of_a_space_without_end_has_its_dearest_cell() -> None:
    sweep = parse(PLAN, ["max_nfe=0", "optim.wm_lr=loguniform(1e-4,1e-3)"])[0]
    cells = [plan.cell for plan in configurations(sweep, check(sweep)) if plan.arm == "flow"]
    assert {"world_model.integrator": "rk4", "world_model.substeps": 8}.items() <= max(
        cells, key=lambda cell: cell["world_model.substeps"]
    ).items()
    assert any(cell["world_model.substeps"] == 1 for cell in cells)


@pytest.mark.parametrize(
    ("hours", "text"), [(0.0043, "0.0043"), (1.26, "1.3"), (99.4, "99"), (106.3, "106")]
)
def test_hours_are_told_in_figures(hours: float, text: str) -> None:
    assert hours_text(hours) == text
