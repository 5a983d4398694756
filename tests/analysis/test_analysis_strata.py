"""Statistics over tasks and seeds: against scipy, against values worked by hand, by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import strata
from analysis.strata import STATISTICS, Strata, estimate, improvement, profile


def of(*columns: list[float]) -> Strata:
    """A stratum a task, its seeds as given."""
    return Strata(tuple(np.array(column)[:, None] for column in columns))


HAND = of([0.0, 0.2, 0.4, 0.6], [0.8, 1.0, 1.2, 1.4])


def test_statistics_worked_by_hand() -> None:
    value = {name: float(function(HAND.matrices)) for name, function in STATISTICS.items()}
    # IQM: the middle four of 0, .2, .4, .6, .8, 1, 1.2, 1.4; means of tasks .3 and 1.1; the gap
    # counts 1.2 and 1.4 as 1.
    assert value["iqm"] == pytest.approx((0.4 + 0.6 + 0.8 + 1.0) / 4)
    assert value["mean"] == pytest.approx(0.7)
    assert value["median"] == pytest.approx(0.7)
    assert value["optimality_gap"] == pytest.approx(1 - (0.3 + (0.8 + 1 + 1 + 1) / 4) / 2)


def test_the_iqm_is_scipys_trimmed_mean() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 5, 10, 11):
        some = Strata(tuple(rng.normal(size=(n, 1)) for _ in range(7)))
        values = np.concatenate([m.ravel() for m in some.matrices])
        expected = scipy_stats.trim_mean(values, 0.25)
        assert float(STATISTICS["iqm"](some.matrices)) == pytest.approx(expected, abs=1e-12)


def test_the_mean_of_one_task_has_scipys_t_interval() -> None:
    values = [3.0, 5.0, 9.0, 10.0, 2.0]
    found = estimate(of(values), "mean")
    lo, hi = scipy_stats.t.interval(0.95, 4, loc=np.mean(values), scale=scipy_stats.sem(values))
    assert (found.lo, found.hi) == pytest.approx((lo, hi))


def test_equal_tasks_have_welchs_degrees_of_freedom() -> None:
    a, b = [1.0, 2.0, 4.0], [3.0, 9.0, 5.0, 4.0]
    found = estimate(of(a, b), "mean")
    # The mean of two means is half the sum: Welch's interval of a - (-b), halved.
    welch = scipy_stats.ttest_ind(a, [-x for x in b], equal_var=False).confidence_interval(0.95)
    assert (found.lo, found.hi) == pytest.approx((welch.low / 2, welch.high / 2))


def test_runs_on_several_tasks_are_drawn_whole() -> None:
    luck = np.array([[-1.0], [0.0], [1.0]])
    shared = Strata((luck + np.zeros((1, 8)),))  # one run's luck on all of its eight tasks
    apart = Strata(tuple(luck for _ in range(8)))
    wide, narrow = (estimate(x, "median") for x in (shared, apart))
    assert wide.hi - wide.lo > 2 * (narrow.hi - narrow.lo)


def test_below_three_seeds_there_is_no_interval_and_the_method_says_so() -> None:
    for name in STATISTICS:
        found = estimate(of([1.0, 2.0], [1.0, 2.0, 3.0]), name)
        assert math.isnan(found.lo) and found.method == "n=2: no uncertainty"
    assert estimate(Strata(()), "iqm").method == "no data"


def test_the_same_seed_gives_the_same_interval_in_any_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = estimate(HAND, "iqm", reps=500)
    assert estimate(HAND, "iqm", reps=500) == first
    assert estimate(HAND, "iqm", reps=500, seed=1) != first
    monkeypatch.setattr(strata, "CHUNK", 8 * 100)
    chunked = estimate(HAND, "iqm", reps=500)
    assert (chunked.lo, chunked.hi) == pytest.approx((first.lo, first.hi), abs=0.1)


def test_profiles_are_shares_of_runs_that_fall() -> None:
    taus = np.array([-0.1, 0.3, 0.7, 1.3, 2.0])
    est, lo, hi = profile(HAND, taus)
    assert est == pytest.approx([1.0, 0.75, 0.5, 0.125, 0.0])
    assert (np.diff(est) <= 0).all() and (lo <= est).all() and (est <= hi).all()


def test_the_chance_of_improvement_is_mann_whitneys() -> None:
    x, y = [1.0, 5.0, 6.0, 2.0], [3.0, 2.0, 0.0]
    found = improvement(of(x), of(y))
    u = scipy_stats.mannwhitneyu(x, y).statistic
    assert found.est == pytest.approx(u / 12)
    assert found.lo < found.est < found.hi
    swapped = improvement(of(y), of(x))
    assert (swapped.lo, swapped.hi) == pytest.approx((1 - found.hi, 1 - found.lo))


def test_winning_every_pair_is_not_certainty() -> None:
    found = improvement(of([5.0, 6.0, 7.0]), of([1.0, 2.0, 3.0]))
    assert found.est == 1.0 and found.hi == 1.0 and 0.3 < found.lo < 0.7
    with pytest.raises(ValueError, match="the same tasks"):
        improvement(of([1.0]), Strata((np.ones((1, 2)),)))


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = {"mean": 0, "iqm": 0, "improvement": 0}
    reps = 200
    for _ in range(reps):
        x, y = (Strata(tuple(rng.normal(size=(5, 1)) for _ in range(5))) for _ in range(2))
        for name in ("mean", "iqm"):
            e = estimate(x, name, reps=300)
            hits[name] += e.lo <= 0 <= e.hi
        e = improvement(x, y)
        hits["improvement"] += e.lo <= 0.5 <= e.hi
    # Three standard errors of 200 draws of 95 % are 5 %; the bootstrap is known to cover less.
    assert hits["mean"] / reps > 0.90
    assert hits["iqm"] / reps > 0.86
    assert hits["improvement"] / reps > 0.90
