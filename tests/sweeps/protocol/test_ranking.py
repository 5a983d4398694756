"""Ranking and shrinkage, worked by hand."""

import pytest

from sweeps.core.protocol.ranking import rank
from sweeps.core.reference.shrinkage import shrunk
from sweeps.core.store.state import TrialRecord


def trial(
    config: str, score: float | None, status: str = "COMPLETED", steps: int = 100
) -> TrialRecord:
    return TrialRecord(
        f"{config}-{score}-{steps}", config_id=config, score=score, status=status, env_steps=steps
    )


def test_without_a_second_seed_the_plain_means_stand() -> None:
    assert shrunk({"a": [1.0], "b": [3.0]}) == {"a": 1.0, "b": 3.0}


def test_means_shrink_by_the_share_of_noise_in_their_spread() -> None:
    # Means 2 and 6, centre 4. Seed variance: ((1-2)^2 + (3-2)^2 + (5-6)^2 + (7-6)^2) / 2 = 2.
    # Spread of means: 8; of it noise 2 / 2 = 1, so between = 7 and the weight 7 / (7 + 1) = 7/8.
    assert shrunk({"a": [1.0, 3.0], "b": [5.0, 7.0]}) == pytest.approx({"a": 2.25, "b": 5.75})


def test_a_lucky_single_seed_shrinks_more_than_a_replicated_mean() -> None:
    # Means 10, 9, 2; centre 7. Seed variance (a has one seed): (1 + 1 + 1 + 1) / 2 = 2.
    # Noise: mean of 2, 1, 1 = 4/3. Spread of means: (9 + 4 + 25) / 2 = 19; between = 53/3.
    # Weights: 1 seed 53/3 / (53/3 + 2) = 53/59, 2 seeds 53/3 / (53/3 + 1) = 53/56.
    result = shrunk({"a": [10.0], "b": [8.0, 10.0], "c": [1.0, 3.0]})
    assert result["a"] == pytest.approx(7 + 53 / 59 * 3)
    assert result["b"] == pytest.approx(7 + 53 / 56 * 2)


def test_identical_scores_do_not_divide_by_zero() -> None:
    assert shrunk({"a": [1.0, 1.0], "b": [1.0, 1.0]}) == {"a": 1.0, "b": 1.0}


def test_an_evaluated_trial_counts_as_the_completed_one_that_it_is() -> None:
    (first, second) = rank([trial("a", 1.0), trial("b", 2.0, "EVALUATED")])
    assert [(r.config_id, r.score, r.completed) for r in (first, second)] == [
        ("b", 2.0, True),
        ("a", 1.0, True),
    ]


def test_completed_configurations_come_before_stopped_ones_whatever_the_score() -> None:
    ranked = rank([trial("a", 1.0), trial("b", 9.0, "STOPPED", 50), trial("c", 2.0)])
    assert [r.config_id for r in ranked] == ["c", "a", "b"]


def test_stopped_configurations_rank_by_how_far_they_came_then_by_score() -> None:
    trials = [
        trial("a", 9.0, "STOPPED", 25),
        trial("b", 1.0, "STOPPED", 50),
        trial("c", 2.0, "STOPPED", 50),
    ]
    assert [r.config_id for r in rank(trials)] == ["c", "b", "a"]


def test_failed_trials_and_trials_without_a_score_do_not_count() -> None:
    assert rank([trial("a", 9.0, "FAILED"), trial("b", None)]) == []


def test_the_seeds_of_a_configuration_are_averaged() -> None:
    (best, _) = rank([trial("a", 2.0), trial("a", 4.0), trial("b", 2.9), trial("b", 2.9)])
    assert (best.config_id, best.mean, best.n) == ("a", 3.0, 2)


def test_stopped_runs_without_environment_steps_rank_by_their_epochs() -> None:
    def stopped(config: str, score: float, epochs: int) -> TrialRecord:
        return TrialRecord(
            config, config_id=config, score=score, status="STOPPED", epochs_done=epochs
        )

    ranked = rank([stopped("a", 9.0, 10), stopped("b", 1.0, 20), stopped("c", 2.0, 20)])
    assert [r.config_id for r in ranked] == ["c", "b", "a"]
