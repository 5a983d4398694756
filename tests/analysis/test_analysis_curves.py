"""Learning curves on common axes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import analysis
from analysis import stats


def test_seeds_meet_on_their_evaluation_grid(new_sweep):
    sweep = new_sweep()
    for seed, start in enumerate((1.0, 2.0, 6.0)):
        sweep.trial("flow", seed, [start, start + 1])
    table = analysis.curves(sweep.frames())
    assert list(table.columns) == ["task", "arm", "env_steps", "est", "lo", "hi", "n", "method"]
    assert table["env_steps"].tolist() == [10 * 2048, 20 * 2048]
    assert table["est"].tolist() == [3.0, 4.0]
    expected = stats.mean_interval([1.0, 2.0, 6.0])
    assert (table["lo"][0], table["hi"][0]) == pytest.approx((expected.lo, expected.hi))


def test_a_seed_that_is_still_running_lowers_n_and_is_not_extrapolated(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("flow", seed, [1.0, 2.0, 3.0])
    sweep.trial("flow", 3, [5.0], status="running", epochs=30)
    table = analysis.curves(sweep.frames(finish=False))
    assert table["n"].tolist() == [4, 3, 3]
    assert table["est"].tolist() == [2.0, 2.0, 3.0]


def test_stopped_trials_are_not_averaged_but_are_in_the_seed_curves(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("flow", seed, [1.0, 2.0], stage="screen", config_id=f"c{seed}")
    sweep.trial("flow", 3, [9.0], stage="screen", status="stopped", epochs=20)
    frames = sweep.frames()
    assert analysis.curves(frames, stage="screen")["n"].tolist() == [3, 3]
    seeds = analysis.seed_curves(frames, stage="screen")
    assert seeds.loc[seeds["status"] == "STOPPED", "value"].tolist() == [9.0]


def test_different_grids_are_interpolated_within_each_seeds_range(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 0, [0.0, 10.0], every=10)
    sweep.trial("flow", 1, [0.0, 10.0], every=15)
    table = analysis.curves(sweep.frames(), points_per_curve=5)
    # Epochs 10 .. 30 in five points; seed 0 ends at 20, seed 1 begins at 15.
    assert (table["env_steps"] / 2048).tolist() == [10, 15, 20, 25, 30]
    assert table["n"].tolist() == [1, 2, 2, 1, 1]
    assert table["est"].tolist() == pytest.approx([0.0, 2.5, (10 + 10 / 3) / 2, 20 / 3, 10.0])
    assert table["method"].tolist()[0] == "n=1: no uncertainty"


@pytest.mark.parametrize(("x", "hours"), [("wall_hours", 2.0), ("gpu_hours", 1.0)])
def test_hours_are_an_axis(new_sweep, x, hours):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("flow", seed, [1.0] * 20, seconds_per_epoch=36.0, gpus=0.5)
    table = analysis.curves(sweep.frames(), x=x)
    assert len(table) == 200
    assert table[x].iloc[-1] == pytest.approx(hours)
    assert set(table["n"]) == {3}
    np.testing.assert_allclose(table["est"], 1.0)


def test_gpu_hours_without_a_gpu_are_refused(phase3):
    with pytest.raises(analysis.InputError, match="no trial had one; use x='wall_hours'"):
        analysis.curves(phase3.frames(), x="gpu_hours")


def test_report_metrics_can_be_drawn_too(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 0, [1.0, 1.0])
    frames = sweep.frames()
    table = analysis.curves(frames, score="loss/actor")
    assert table["est"].tolist() == pytest.approx([0.1, 0.05])
    hours = analysis.curves(frames, score="loss/actor", x="wall_hours")
    assert hours["wall_hours"].max() == pytest.approx(0.2)


def test_a_nan_evaluation_is_left_out_of_its_point_only(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("flow", seed, [1.0, math.nan if seed == 0 else 2.0])
    table = analysis.curves(sweep.frames())
    assert table["n"].tolist() == [3, 2]
    assert table["est"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "hours"}, "unknown x 'hours'"),
        ({"score": "retrun_mean"}, "did you mean 'return_mean'"),
        ({"by": "task"}, "unknown grouping 'task'"),
        ({"stage": "scren"}, "unknown stage 'scren'"),
    ],
)
def test_unknown_axes_are_answered_with_the_known(phase3, options, message):
    with pytest.raises(analysis.InputError, match=message):
        analysis.curves(phase3.frames(), **options)
