"""The tolerance function, by hand and against dm_control's."""

import numpy as np
import pytest
from dm_control.utils import rewards as dm_control_rewards

from flowpwm.envs.rewards import Decay, tolerance


def test_without_a_margin_it_is_an_indicator_with_both_ends_in() -> None:
    x = np.array([-0.1, 0.0, 0.5, 1.0, 1.1])
    assert tolerance(x, 0.0, 1.0).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("decay", "value_at_margin", "expected"),
    [
        # at 0, 1/2, 1 and 3 margins outside; gaussian: 0.1 to the power d^2
        ("gaussian", 0.1, [1.0, 10**-0.25, 0.1, 1e-9]),
        ("linear", 0.5, [1.0, 0.75, 0.5, 0.0]),
        ("linear", 0.0, [1.0, 0.5, 0.0, 0.0]),
        ("quadratic", 0.0, [1.0, 0.75, 0.0, 0.0]),
    ],
)
def test_it_falls_to_its_value_at_the_margin_and_on(
    decay: Decay, value_at_margin: float, expected: list[float]
) -> None:
    above = np.array([3.0, 4.0, 5.0, 9.0])  # the interval [1, 3] with a margin of 2
    below = 4.0 - above
    for x in (above, below):
        found = tolerance(x, 1.0, 3.0, margin=2.0, decay=decay, value_at_margin=value_at_margin)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("decay", ["gaussian", "linear", "quadratic"])
@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (1.0, np.inf), (-np.inf, -1.0)])
def test_it_is_dm_controls_to_the_bit(decay: Decay, low: float, high: float) -> None:
    x = np.linspace(-4.0, 4.0, 999)
    ours = tolerance(x, low, high, margin=1.5, decay=decay, value_at_margin=0.3)
    theirs = dm_control_rewards.tolerance(
        x, (low, high), margin=1.5, sigmoid=decay, value_at_margin=0.3
    )
    np.testing.assert_array_equal(ours, theirs)
