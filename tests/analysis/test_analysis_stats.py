"""Statistics against scipy, published worked examples and numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import sample_size, stats

# Scipy's result objects are built at run time; nothing here checks their types.
reference: Any = scipy_stats

RNG = np.random.default_rng(7)
A, B = RNG.normal(10, 2, 8), RNG.normal(9, 4, 6)


def test_the_mean_of_1_2_3_has_the_t_interval_worked_by_hand():
    # sd = 1, se = 1/sqrt(3), t(.975, 2) = 4.302653: half width 2.484138
    e = stats.mean_interval([1.0, 2.0, 3.0])
    assert (e.est, e.n, e.method) == (2.0, 3, "mean, t")
    assert e.lo == pytest.approx(2 - 2.484138, abs=1e-6)
    assert e.hi == pytest.approx(2 + 2.484138, abs=1e-6)


def test_the_t_interval_is_scipys():
    low, high = reference.ttest_1samp(A, 0).confidence_interval(0.9)
    e = stats.mean_interval(A, level=0.9)
    assert (e.lo, e.hi) == pytest.approx((low, high))


@pytest.mark.parametrize(("values", "method"), [([], "no data"), ([5.0], "n=1: no uncertainty")])
def test_too_few_seeds_have_no_interval_and_say_so(values, method):
    e = stats.mean_interval(values)
    assert e.method == method
    assert math.isnan(e.lo) and math.isnan(e.hi)


def test_two_seeds_have_no_interval():
    assert stats.mean_interval([1.0, 2.0]).method == "n=2: no uncertainty"
    assert math.isnan(stats.paired_difference([1.0, 2.0], [0.0, 0.0]).p_value)
    assert stats.welch_difference([1.0, 2.0, 3.0], [0.0, 1.0]).method == "n=2: no uncertainty"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], 5.0),
        ([1.0, 2.0, 9.0], 4.0),  # n // 4 = 0: nothing is cut
        ([100.0, 1.0, 2.0, 3.0], 2.5),  # one at each end
        ([*range(8), 1000.0, -1000.0], 3.5),  # two at each end: 1..6
    ],
)
def test_iqm_cuts_a_quarter_at_each_end(values, expected):
    assert stats.iqm(values) == pytest.approx(expected)


def test_iqm_is_scipys_trimmed_mean_along_an_axis():
    x = RNG.normal(size=(5, 13))
    np.testing.assert_allclose(stats.iqm(x), reference.trim_mean(x, 0.25, axis=1))


def test_iqm_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        stats.iqm([])


def test_welch_is_scipys():
    found = stats.welch_difference(A, B)
    expected = reference.ttest_ind(A, B, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.lo, found.hi) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.lo90, found.hi90) == pytest.approx(tuple(expected.confidence_interval(0.90)))
    assert found.n == 6


def test_pairs_are_scipys():
    found = stats.paired_difference(A[:6], B)
    expected = reference.ttest_rel(A[:6], B)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.lo, found.hi) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_pairs_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="equal lengths, got 2 and 1"):
        stats.paired_difference([1.0, 2.0], [1.0])


def test_equal_scores_everywhere_differ_by_exactly_nothing():
    for found in (
        stats.paired_difference([1000.0] * 3, [1000.0] * 3),
        stats.welch_difference([1000.0] * 3, [1000.0] * 3),
    ):
        assert (found.est, found.lo, found.hi, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_constant_difference_is_certain():
    found = stats.paired_difference([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (found.est, found.lo, found.p_value) == (1.0, 1.0, 0.0)


def test_the_90_percent_interval_holds_the_two_one_sided_tests():
    d = A[:6] - B
    found, margin = stats.paired_difference(A[:6], B), 4.0
    low = reference.ttest_1samp(d, -margin, alternative="greater").pvalue
    high = reference.ttest_1samp(d, margin, alternative="less").pvalue
    inside = -margin < found.lo90 and found.hi90 < margin
    assert inside == (max(low, high) < 0.05)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x .01, then 2 x .03, then max(.06, 1 x .04)
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_steps_down_as_worked_by_hand(p, expected):
    np.testing.assert_allclose(stats.holm(p), expected)


def test_holm_leaves_out_what_was_not_tested():
    found = stats.holm([0.01, math.nan, 0.04])
    np.testing.assert_allclose(found, [0.02, math.nan, 0.04])


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 30), (5, 10), (10, 10)])
def test_wilson_is_scipys(k, n):
    e = stats.wilson(k, n)
    low, high = reference.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert (e.est, e.lo, e.hi) == pytest.approx((k / n, low, high))


def test_wilson_wants_a_count_within_its_total():
    with pytest.raises(ValueError, match=r"within 0\.\.3, got 4"):
        stats.wilson(4, 3)
    assert stats.wilson(0, 0).method == "no data"


@pytest.mark.parametrize(
    ("sd", "effect", "seeds"),
    # Standard deviation of the pairs and true effect in percent; 80 % power, two-sided 5 %.
    [
        *[(2, 5, 4), (2, 10, 3), (2, 20, 3), (5, 5, 10), (5, 10, 5), (5, 20, 3)],
        *[(10, 5, 34), (10, 10, 10), (10, 20, 5), (20, 5, 128), (20, 10, 34), (20, 20, 10)],
    ],
)
def test_seeds_for_power_are_those_of_the_published_table(sd, effect, seeds):
    assert sample_size.seeds_for_power(effect, sd, paired=True) == seeds


def test_two_independent_arms_need_the_textbook_64_for_half_a_deviation():
    assert sample_size.seeds_for_power(0.5, 1.0, paired=False) == 64


def test_power_is_the_share_of_simulated_experiments_that_find_the_effect():
    rng = np.random.default_rng(3)
    d = rng.normal(1.0, 1.5, (4000, 8))
    share = (reference.ttest_1samp(d, 0, axis=1).pvalue < 0.05).mean()
    assert sample_size.power(1.0, 1.5, 8, paired=True) == pytest.approx(share, abs=0.03)


def test_power_of_independent_arms_is_that_of_welchs_test_at_three_seeds():
    # With 2(n - 1) degrees of freedom for every sample the answer would be 0.80.
    a, b = np.random.default_rng(4).normal(size=(2, 20_000, 3)) + np.array([[[3.07]], [[0.0]]])
    share = (reference.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05).mean()
    assert sample_size.power(3.07, 1.0, 3, paired=False) == pytest.approx(share, abs=0.015)


def test_a_tiny_effect_needs_very_many_seeds_and_is_found_quickly():
    n = sample_size.seeds_for_power(0.001, 1.0, paired=True)
    assert n == pytest.approx((1.959964 + 0.841621) ** 2 * 1e6, rel=1e-3)


def test_no_effect_is_no_question_for_power():
    with pytest.raises(ValueError, match="effect must be positive"):
        sample_size.seeds_for_power(0.0, 1.0, paired=True)


@pytest.mark.parametrize("est", [3.0, 0.5])
@pytest.mark.parametrize("paired", [True, False])
def test_seeds_to_decide_is_the_first_number_at_which_an_interval_clears(est, paired):
    sd, margin = 6.0, 2.0
    n = sample_size.seeds_to_decide(est, sd, margin, 5, paired=paired)

    def clears(m: int) -> bool:
        df, se = (m - 1, sd / math.sqrt(m)) if paired else (2 * m - 2, sd * math.sqrt(2 / m))
        wide, narrow = reference.t.ppf(0.975, df) * se, reference.t.ppf(0.95, df) * se
        return wide < est or est + narrow < margin

    assert clears(n) and not clears(n - 1)


def test_the_bootstrap_is_reproducible_and_close_to_the_t_interval_on_normal_data():
    x = np.random.default_rng(5).normal(100, 10, 40)
    first, again, t = stats.bootstrap_iqm(x), stats.bootstrap_iqm(x), stats.mean_interval(x)
    assert first == again
    assert (first.lo, first.hi) == pytest.approx((t.lo, t.hi), abs=2.5)


def test_the_bootstrap_of_differences_keeps_pairs_together():
    base = np.random.default_rng(6).normal(0, 100, 12)
    paired = stats.bootstrap_iqm_difference(base + 5, base, paired=True)
    apart = stats.bootstrap_iqm_difference(base + 5, base, paired=False)
    assert (paired.lo, paired.est, paired.hi) == pytest.approx((5, 5, 5))
    assert apart.hi - apart.lo > 50


def test_the_t_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(11)
    for n in (3, 5, 10):
        x = rng.normal(0, 1, (1500, n))
        e = [stats.mean_interval(row) for row in x]
        covered = np.mean([i.lo <= 0 <= i.hi for i in e])
        assert covered == pytest.approx(0.95, abs=0.02), n  # 3.5 standard errors


def test_the_stretched_bootstrap_covers_more_than_the_plain_one_at_small_n():
    rng = np.random.default_rng(12)
    x = rng.normal(0, 1, (400, 10))
    covered = stretched = 0
    for row in x:
        e = stats.bootstrap_iqm(row, reps=400)
        stretched += e.lo <= 0 <= e.hi
        draws = stats.iqm(row[rng.integers(0, 10, (400, 10))])
        lo, hi = np.quantile(draws, [0.025, 0.975])
        covered += lo <= 0 <= hi
    assert stretched >= covered
    assert stretched / 400 > 0.89


def test_correlation_needs_three_pairs_that_vary():
    assert stats.correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert math.isnan(stats.correlation([1, 2], [1, 2]))
    assert math.isnan(stats.correlation([1, 2, 3], [5, 5, 5]))
