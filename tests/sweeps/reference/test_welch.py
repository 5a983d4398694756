"""The power of Welch's test: against simulation, against the books, against the analysis."""

import numpy as np
import pytest
from scipy import stats

from analysis.sample_size import seeds_for_power
from sweeps.core.reference.welch import detectable, power, seeds_to_detect


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_difference_is_found_in_eight_of_ten_simulated_comparisons(n: int) -> None:
    rng, effect = np.random.default_rng(n), detectable(70.0, n)
    base, candidate = rng.normal(0, 70, (20_000, n)), rng.normal(effect, 70, (20_000, n))
    found = stats.ttest_ind(candidate, base, axis=1, equal_var=False).pvalue < 0.05
    # The standard error of a share of 0.8 in 20,000 is 0.003.
    assert found.mean() == pytest.approx(0.8, abs=0.012)


def test_with_many_seeds_it_is_that_of_the_books() -> None:
    # Cohen (1988), pooled t: d = 0.736 for 30 a group, 0.398 for 100 (two-sided 5 %, power 80 %).
    assert detectable(1.0, 30) == pytest.approx(0.736, abs=0.002)
    assert detectable(2.0, 100) == pytest.approx(2 * 0.398, abs=0.002)


def test_without_a_difference_few_comparisons_find_one() -> None:
    # Welch's test is conservative with few seeds, and keeps its 5 % with many.
    assert 0.02 < power(0.0, 3) < power(0.0, 10) < 0.05
    assert power(0.0, 100) == pytest.approx(0.05, abs=1e-4)


def test_what_is_far_away_is_always_found() -> None:
    assert power(1e6, 3) == 1.0
    assert 0.99 < power(8.0, 3) < 1.0


@pytest.mark.parametrize("n", [3, 4, 8, 20, 200])
def test_seeds_and_differences_are_inverse(n: int) -> None:
    assert seeds_to_detect(detectable(50.0, n), 50.0) == n


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0])
def test_the_analysis_plans_almost_as_many_seeds(effect: float) -> None:
    found = seeds_to_detect(effect, 1.0)
    assert found is not None
    assert 0 <= found - seeds_for_power(effect, 1.0, paired=False) <= 1


def test_a_difference_that_nobody_waits_for_has_no_number_of_seeds() -> None:
    assert seeds_to_detect(1.0, 1000.0) is None
