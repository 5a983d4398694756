"""What a run says of its score."""

import numpy as np
import pytest

from flowpwm.report import variance_of_mean


def test_the_variance_of_a_score_comes_from_the_steps_between_evaluations() -> None:
    # Differences 2, -1 and 3: mean square 14/3, half of it for one evaluation, a quarter for four.
    assert variance_of_mean([1.0, 3.0, 2.0, 5.0]) == pytest.approx(14 / 3 / 2 / 4)


def test_one_evaluation_says_nothing_of_its_variance() -> None:
    assert variance_of_mean([]) is None
    assert variance_of_mean([1.0]) is None


def test_learning_hardly_counts_as_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (2000, 5))
    found = [variance_of_mean(row + np.arange(5) * 0.5) or 0.0 for row in noise]
    # White noise of variance 1: 1/5; a slope of 0.5 an evaluation adds 0.5^2 / 2 / 5.
    assert np.mean(found) == pytest.approx(0.2 + 0.025, rel=0.05)
