"""How much a run kept of what it had reached, worked by hand."""

import math

import numpy as np
import pytest

import analysis
from analysis.stability import stability
from tests.analysis.conftest import STEPS_PER_EPOCH, Factory


def of(*smooth: float, final: float | None = None, window: int = 1, scale: float = 1000.0):
    curve = np.array(smooth, dtype=float)
    last = curve[-1] if final is None else final
    return stability(curve, np.arange(1.0, 1 + len(curve)), final=last, window=window, scale=scale)


def test_a_run_that_fell_and_stayed_down_collapsed_where_it_last_passed_half_of_its_peak() -> None:
    found = of(100, 800, 300, 500, 200, 100)
    assert found == {
        "peak": 800.0,
        "final_peak": 0.125,
        "drawdown": 0.875,
        "collapsed": True,
        "collapsed_at": 5.0,  # at 4 it was above 400 once more
    }


def test_a_run_that_came_back_did_not_collapse_but_had_its_fall() -> None:
    found = of(800, 200, 700)
    assert not found["collapsed"] and math.isnan(float(str(found["collapsed_at"])))
    assert found["drawdown"] == 0.75 and found["final_peak"] == 0.875


def test_falling_from_next_to_nothing_is_noise() -> None:
    assert not of(40, 1)["collapsed"] and of(60, 1)["collapsed"]


def test_the_first_evaluations_are_no_peak_before_the_window_is_full() -> None:
    assert of(900, 500, 100, 100, window=3)["peak"] == 100.0
    assert of(900, 500, window=3)["peak"] == 500.0  # none was ever full


def test_scores_below_zero_have_no_ratios_and_what_is_no_number_does_not_hide_the_rest() -> None:
    found = of(-5, -1, -3)
    assert found["peak"] == -1.0 and not found["collapsed"]
    assert math.isnan(float(str(found["final_peak"]))) and math.isnan(float(str(found["drawdown"])))
    assert of(100, math.nan, 50)["drawdown"] == 0.5


def test_tables_tell_it(new_sweep: Factory) -> None:
    folder = new_sweep()
    for seed in range(2):
        folder.trial("flow", seed, [900.0] * 10 + [90.0] * (10 + seed))
    frames = folder.frames()
    scores = analysis.trial_scores(frames, window=1)
    # The eleventh evaluation, ten epochs apart.
    assert set(scores["collapsed_at"]) == {110 * STEPS_PER_EPOCH}
    (row,) = analysis.summarize(frames, window=1).to_dict("records")
    assert row["drawdown"] == pytest.approx(0.9) and row["collapsed"] == 2 and row["iqr"] == 0.0
    assert "since (environment steps)" in analysis.report(frames).read_text(encoding="utf-8")
