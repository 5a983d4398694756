"""What runs cost: budgets, scores at equal ones, and times to a threshold."""

import math

import numpy as np
import pytest

import analysis
from analysis.cost import median_until
from tests.analysis.conftest import STEPS_PER_EPOCH, Factory


def by_quantity(table, label: str):
    rows = table[table["label"] == label].set_index("quantity")
    assert rows.index.is_unique
    return rows


def test_scores_are_compared_where_all_have_spent_the_same(new_sweep: Factory) -> None:
    folder = new_sweep()
    rising = np.linspace(0, 1000, 21)[1:]
    for seed in range(3):
        folder.trial("mlp", seed, rising, seconds_per_epoch=36.0, gpus=1.0)
        folder.trial("flow", seed, rising, seconds_per_epoch=108.0, gpus=1.0)
    frames = folder.frames()
    table = analysis.cost(frames)
    mlp, flow = by_quantity(table, "mlp"), by_quantity(table, "flow")
    assert mlp.loc["env_steps", "est"] == 200 * STEPS_PER_EPOCH
    assert mlp.loc["gpu_hours", "est"] == pytest.approx(2.0)
    assert flow.loc["gpu_hours", "est"] == pytest.approx(6.0)
    same = "score at equal env_steps"
    assert mlp.loc[same, "est"] == flow.loc[same, "est"] == pytest.approx(900.0)  # mean of five
    # In the two hours of an MLP run flow gets through a third of its own, six evaluations of 20.
    same = "score at equal gpu_hours"
    assert mlp.loc[same, "est"] == pytest.approx(900.0)
    assert flow.loc[same, "est"] == pytest.approx(np.mean(rising[1:6]))
    assert flow.loc[same, "unit"] == "at 2.00 h"
    priced = analysis.cost(frames, price=3.0)
    assert by_quantity(priced, "flow").loc["price", "est"] == pytest.approx(18.0)
    # 900 smoothed is reached at the last evaluation.
    assert flow.loc["gpu_hours to threshold", "est"] == pytest.approx(6.0)
    assert "reached by 3 of 3" in flow.loc["gpu_hours to threshold", "method"]


def test_runs_that_never_got_there_count_as_not_yet(new_sweep: Factory) -> None:
    folder = new_sweep()
    for seed, top in enumerate((950.0, 950.0, 300.0)):
        folder.trial("mlp", seed, [top] * 10)
    for seed, top in enumerate((950.0, 300.0, 300.0)):
        folder.trial("flow", seed, [top] * 10)
    frames = folder.frames()
    table = analysis.cost(frames)
    until = "env_steps to threshold"
    mlp, flow = by_quantity(table, "mlp").loc[until], by_quantity(table, "flow").loc[until]
    assert mlp["est"] == 10 * STEPS_PER_EPOCH and "reached by 2 of 3" in mlp["method"]
    assert math.isnan(flow["est"]) and "reached by 1 of 3" in flow["method"]
    easy = by_quantity(analysis.cost(frames, threshold=0.2), "flow")
    assert easy.loc[until, "est"] == 10 * STEPS_PER_EPOCH
    with pytest.raises(analysis.InputError, match="threshold must be above 0"):
        analysis.cost(frames, threshold=0.0)


def test_the_median_is_kaplan_and_meiers() -> None:
    # Survival after 1: 4/5; 2 is censored; after 3: 4/5 * 2/3; after 4: 4/5 * 1/3.
    spent = [(1.0, True), (2.0, False), (3.0, True), (4.0, True), (5.0, False)]
    found = median_until(spent)
    assert found.est == 4.0 and found.lo <= 4.0 and found.n == 5
    assert math.isnan(median_until([(1.0, False)] * 3).est)
    assert median_until([(2.0, True)] * 3).est == 2.0
    assert math.isnan(median_until([(2.0, True)] * 2).lo)


def test_stopped_runs_have_no_cost_to_compare(new_sweep: Factory) -> None:
    folder = new_sweep()
    folder.trial("mlp", 0, [1.0] * 6)
    folder.trial("flow", 0, [1.0] * 3, status="stopped")
    assert set(analysis.cost(folder.frames())["label"]) == {"mlp"}
    assert analysis.cost(new_sweep("empty").frames(finish=False)).empty
