"""The tables of published scores and of noise: whole, of known tasks, found by what is asked."""

import math

import pytest

from flowpwm.envs import ENVS
from flowpwm.envs.mt30 import MT30
from flowpwm.modes import MODES
from sweeps.core.reference.margins import margin_of, max_return
from sweeps.core.reference.noise import measured_noise, pooled
from sweeps.core.reference.published import comparable, published_range
from sweeps.core.reference.table import rows


@pytest.mark.parametrize("task", MT30)
def test_every_task_of_mt30_has_published_ranges(task: str) -> None:
    for steps in (1_000_000, 4_000_000):
        found = published_range(task, online=True, env_steps=steps)
        assert found is not None and 0 <= found.low <= found.high <= 1000
    offline = published_range(task, online=False)
    assert offline is not None and offline.env_steps is None


def test_a_range_is_that_of_about_as_many_steps() -> None:
    # DreamerV3 930.3, SAC 949.1, TD-MPC 991.5, TD-MPC2 990.6 near 1M steps.
    found = published_range("walker-stand", online=True, env_steps=1_200_000)
    assert found is not None and (found.low, found.high) == (930.3, 991.5)
    assert published_range("walker-stand", online=True, env_steps=100_000) is None
    assert published_range("point-mass", online=True, env_steps=1_000_000) is None


def test_outside_is_beyond_the_margin() -> None:
    found = published_range("walker-stand", online=True, env_steps=1_000_000)
    assert found is not None
    # 5 % of 930.3 is 46.5.
    assert [found.outside(mean) for mean in (883.0, 884.0, 991.5, 1050.0)] == [
        True,
        False,
        False,
        True,
    ]


def test_the_margin_is_a_share_of_the_mean_and_at_least_one_of_the_scale() -> None:
    assert margin_of(800.0, max_return("walker-stand")) == 40.0
    assert margin_of(20.0, max_return("walker-stand")) == 10.0
    assert margin_of(20.0, max_return("point-mass")) == 1.0


def test_budgets_compare_within_a_factor_of_two() -> None:
    assert comparable(100, 200) and comparable(200, 100)
    assert not comparable(100, 201) and not comparable(0, 100)


def test_noise_on_record_is_of_known_tasks_and_modes() -> None:
    for row in rows("seed_noise.csv"):
        assert row["task"] in ENVS and row["mode"] in MODES
        assert float(row["sd"]) > 0 and int(row["n"]) >= 3 and int(row["budget"]) > 0


def test_noise_is_looked_up_by_kinds_and_taken_from_others_where_there_are_none() -> None:
    both = {("mlp", "gaussian"), ("flow", "gaussian")}
    found = measured_noise("cartpole-swingup", "online", 102_400, both)
    assert sorted(row.sd for row in found) == [5.9, 45.0]
    (mlp,) = measured_noise("cartpole-swingup", "online", 102_400, {("mlp", "gaussian")})
    assert mlp.mean == 772.7
    assert len(measured_noise("cartpole-swingup", "online", 1, {("mlp", "flow")})) == 2
    assert measured_noise("cartpole-swingup", "joint", 1, both) == []


def test_pooled_spread_weighs_by_degrees_of_freedom() -> None:
    # (1 * 4 + 3 * 16) / 4 = 13
    assert pooled([(2.0, 2), (4.0, 4), (99.0, 1)]) == pytest.approx(math.sqrt(13))
    assert math.isnan(pooled([(1.0, 1)]))
