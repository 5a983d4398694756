"""Successive halving, decisions worked by hand."""

from sweeps.core.protocol.rungs import Bracket, Brackets, Decision


def bracket(reduction: float = 2.0) -> Bracket:
    return Bracket("b", (100, 200), reduction)


def went_on(decisions: list[Decision]) -> list[bool]:
    return [decision.go_on for decision in decisions]


def test_before_the_first_rung_nothing_is_decided() -> None:
    assert bracket().judge("a", 99, 1.0) == []


def test_the_first_trial_at_a_rung_goes_on_whatever_its_score() -> None:
    (decision,) = bracket().judge("a", 100, -5.0)
    assert decision == Decision("b", 100, "a", -5.0, -5.0, go_on=True)


def test_half_of_the_trials_that_were_at_a_rung_go_on() -> None:
    b = bracket()
    # Sorted scores when each arrives, and how many of them are kept (half, rounded up):
    # [3] 1; [3, 2] 1; [3, 2.5, 2] 2; [4, 3, 2.5, 2] 2; [4, 3, 2.5, 2, 1] 3.
    arrivals = [("a", 3.0), ("b", 2.0), ("c", 2.5), ("d", 4.0), ("e", 1.0)]
    made = [b.judge(trial, 100, score)[0] for trial, score in arrivals]
    assert went_on(made) == [True, False, True, True, False]
    assert [decision.cutoff for decision in made] == [3.0, 3.0, 2.5, 3.0, 2.5]


def test_with_a_reduction_of_three_a_third_goes_on() -> None:
    b = bracket(3.0)
    # Kept: 1 of 1, 1 of 2, 1 of 3, 2 of 4.
    arrivals = [("a", 1.0), ("b", 0.0), ("c", 2.0), ("d", 1.5)]
    made = [b.judge(trial, 100, score)[0].go_on for trial, score in arrivals]
    assert made == [True, False, True, True]


def test_equal_scores_go_on_together() -> None:
    b = bracket()
    assert went_on([b.judge(trial, 100, 1.0)[0] for trial in "abc"]) == [True, True, True]


def test_a_trial_is_judged_once_at_each_rung() -> None:
    b = bracket()
    assert len(b.judge("a", 120, 1.0)) == 1
    assert b.judge("a", 150, 9.0) == []
    assert [d.milestone for d in b.judge("a", 200, 2.0)] == [200]


def test_a_trial_that_skips_rungs_is_judged_at_each_until_it_stops() -> None:
    b = bracket()
    b.judge("a", 100, 5.0)
    assert [(d.milestone, d.go_on) for d in b.judge("b", 250, 6.0)] == [(100, True), (200, True)]
    assert [(d.milestone, d.go_on) for d in b.judge("c", 250, 0.0)] == [(100, False)]


def test_a_score_that_is_not_finite_stops_and_stands_below_all_others() -> None:
    b = bracket()
    assert went_on(b.judge("a", 100, float("nan"))) == [False]
    assert went_on(b.judge("b", 100, None)) == [False]
    assert went_on(b.judge("c", 100, -1e9)) == [True]


def test_a_margin_spares_what_is_close_below_the_cut() -> None:
    # Variances 0.04 and 0.12, pooled 0.08: at a margin of 2 up to 0.566 below the cut goes on.
    b = Bracket("b", (100,), 2.0, margin=2.0)
    b.judge("a", 100, 3.0, 0.04)
    (close,) = b.judge("b", 100, 2.5, 0.12)
    assert (close.go_on, close.cutoff, close.variance) == (True, 3.0, 0.12)
    # Now 0.04, 0.12 and 0.02, pooled 0.06: 0.49. Two of [3, 2.5, 2.0] are kept, the cut is 2.5.
    assert went_on(b.judge("c", 100, 2.0, 0.02)) == [False]


def test_a_standard_error_that_is_given_counts_instead_of_the_variances() -> None:
    b = Bracket("b", (100,), 2.0, margin=1.0, score_se=0.5)
    b.judge("a", 100, 3.0, 100.0)
    assert went_on(b.judge("b", 100, 2.5, 100.0)) == [True]
    assert went_on(b.judge("c", 100, 1.9, 100.0)) == [False]  # the cut is 2.5


def test_without_variances_a_margin_changes_nothing() -> None:
    b = Bracket("b", (100,), 2.0, margin=3.0)
    b.judge("a", 100, 3.0)
    assert went_on(b.judge("b", 100, 2.999)) == [False]


def test_a_replay_knows_the_variances_of_earlier_trials() -> None:
    first, second = (Brackets((0.5,), 2.0, margin=2.0) for _ in range(2))
    decided = first.of(9, 1000).judge("a", 500, 3.0, 0.04)
    second.replay(decided)
    arrivals = [("b", 2.7, 0.02), ("c", 2.0, 0.01)]
    for trial, score, variance in arrivals:
        ours = second.of(9, 1000).judge(trial, 500, score, variance)
        assert ours == first.of(9, 1000).judge(trial, 500, score, variance)


def test_runs_of_different_length_are_never_compared() -> None:
    brackets = Brackets((0.25, 0.5), 2.0)
    short, long = brackets.of(100, 1000), brackets.of(400, 4000)
    assert short.milestones == (250, 500)
    assert long.milestones == (1000, 2000)
    short.judge("a", 250, 10.0)
    assert went_on(long.judge("b", 1000, 1.0)) == [True]


def test_without_fractions_nothing_is_ever_stopped() -> None:
    assert Brackets((), 2.0).of(100, 1000).judge("a", 1000, 0.0) == []


def test_after_a_replay_decisions_go_on_as_if_nothing_had_happened() -> None:
    first, second = Brackets((0.25, 0.5), 2.0), Brackets((0.25, 0.5), 2.0)
    arrivals = [("a", 250, 3.0), ("b", 250, 2.0), ("a", 500, 4.0), ("c", 250, None)]
    decided = [d for t, steps, score in arrivals for d in first.of(9, 1000).judge(t, steps, score)]
    second.replay(decided)
    for trial, steps, score in [("d", 250, 2.5), ("e", 500, 3.9), ("a", 500, 0.0)]:
        ours = second.of(9, 1000).judge(trial, steps, score)
        assert ours == first.of(9, 1000).judge(trial, steps, score)
