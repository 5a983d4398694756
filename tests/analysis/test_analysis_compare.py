"""Verdicts: the users' own table, the rule at its edges, and what may not enter a result."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.verdict import Evidence, judge

NAN = math.nan


def by_task(table):
    """The table by task, to look rows up by name."""
    return table.set_index("task")


def test_phase_3_gets_exactly_the_verdicts_of_the_specification(phase3):
    table = by_task(analysis.compare(phase3.frames(), pair="paired"))
    assert table["verdict"].to_dict() == {
        "reacher-easy": "tie",
        "walker-stand": "undetermined",
        "cheetah-run": "lose",
    }
    bounds = {task: (row["lo"], row["hi"]) for task, row in table.iterrows()}
    assert bounds["reacher-easy"] == pytest.approx((-7.8, 4.5), abs=0.05)
    assert bounds["walker-stand"] == pytest.approx((-268.4, 32.5), abs=0.05)
    assert bounds["cheetah-run"] == pytest.approx((-16.0, -11.5), abs=0.05)
    assert table["method"].unique().tolist() == ["paired t"]
    assert table["n"].tolist() == [3, 3, 3]
    assert table["seed_corr"].round(3).to_dict() == {
        "reacher-easy": 0.927,
        "walker-stand": 0.957,
        "cheetah-run": 1.0,
    }


def test_phase_3_says_what_is_not_learned_and_how_many_seeds_are_missing(phase3):
    table = by_task(analysis.compare(phase3.frames(), correction="none"))
    assert table["not_learned"].to_dict() == {
        "reacher-easy": False,
        "walker-stand": False,
        "cheetah-run": True,
    }
    # sd of the pairs 60.55, margin 5 % of 957.72: an effect of .79 sd needs 15 pairs.
    assert table.loc["walker-stand", "seeds_needed"] == 15
    # The difference that was seen, -117.9, is 1.95 sd: two-sided t with 80 % power takes 5 pairs.
    assert table.loc["walker-stand", "seeds_for_est"] == 5
    assert table["seeds_needed"].isna().sum() == 2
    assert table["margin"].to_dict() == pytest.approx(
        {"reacher-easy": 49.115, "walker-stand": 47.886, "cheetah-run": 10.0}, abs=1e-3
    )


def test_phase_3_by_welch_gives_the_p_values_of_the_specification(phase3):
    frames = phase3.frames()
    for pair in ("welch", "paired"):
        table = by_task(analysis.compare(frames, pair=pair))
        assert table["p_welch"].to_dict() == pytest.approx(
            {"reacher-easy": 0.51, "walker-stand": 0.14, "cheetah-run": 0.46}, abs=0.005
        )
    welch = by_task(analysis.compare(frames, pair="welch"))
    assert welch.loc["cheetah-run", "verdict"] == "undetermined"
    assert welch.loc["cheetah-run", "p_value"] == pytest.approx(0.46, abs=0.005)
    assert welch.loc["cheetah-run", "p_paired"] == pytest.approx(0.0014, abs=1e-4)


def test_auto_pairs_only_where_the_sweep_declares_shared_state(phase3, new_sweep):
    assert set(analysis.compare(phase3.frames())["method"]) == {"paired t"}
    plain = new_sweep("plain")
    for arm in ("mlp", "flow"):
        for seed in range(3):
            plain.trial(arm, seed, [100.0 + seed])
    assert set(analysis.compare(plain.frames())["method"]) == {"Welch t"}


def first(table):
    """The first row as a plain dict."""
    return table.to_dict("records")[0]


def evidence(est=0.0, half=1.0, margin=2.0):
    # A 90 % interval is narrower; here by a tenth.
    return Evidence(est, est - half, est + half, est - 0.9 * half, est + 0.9 * half, margin)


@pytest.mark.parametrize(
    ("given", "n", "p", "verdict"),
    [
        (evidence(5.0), 5, 0.001, "win"),
        (evidence(-5.0), 5, 0.001, "lose"),
        (evidence(0.0), 5, 0.9, "tie"),
        (evidence(1.05), 5, 0.03, "tie"),  # excludes 0 and yet does not matter
        (evidence(1.5), 5, 0.01, "win"),  # 90 % interval .6 .. 2.4 leaves the margin
        (evidence(0.0, half=5.0), 5, 0.8, "undetermined"),
        (evidence(5.0), 5, 0.08, "undetermined"),  # not after Holm
        (evidence(5.0, half=NAN), 2, NAN, "undetermined"),
        (evidence(0.0, half=0.0, margin=0.0), 5, 1.0, "undetermined"),
    ],
)
def test_the_verdict_rule_at_its_edges(given, n, p, verdict):
    assert judge(given, n=n, p=p).verdict == verdict


def test_holm_takes_back_a_verdict_that_one_of_many_comparisons_gives(new_sweep):
    sweep = new_sweep()
    tasks = ("cartpole-swingup", "cheetah-run", "reacher-easy", "walker-stand")
    for i, task in enumerate(tasks):
        shift = 130.0 if i == 0 else 0.0
        for seed, noise in enumerate((-60.0, 0.0, 60.0, -30.0, 30.0)):
            sweep.trial("mlp", seed, [500 + noise], task=task)
            sweep.trial("flow", seed, [500 + noise * 1.7 + shift], task=task)
    frames = sweep.frames()
    plain = by_task(analysis.compare(frames, correction="none"))
    holm = by_task(analysis.compare(frames))
    row = holm.loc[["cartpole-swingup"]].to_dict("records")[0]
    assert plain.loc["cartpole-swingup", "verdict"] == "win"
    assert row["verdict"] == "undetermined"
    assert row["p_holm"] == pytest.approx(4 * row["p_value"])
    assert "not after Holm" in row["reason"] and "4 comparisons" in row["reason"]
    assert row["seeds_needed"] > 5


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_give_no_interval_and_no_verdict(new_sweep, seeds):
    sweep = new_sweep()
    for seed in range(3):
        for arm, level in (("mlp", 100.0), ("flow", 900.0)):
            sweep.trial(arm, seed, [level], status="completed" if seed < seeds else "planned")
    row = analysis.compare(sweep.frames(finish=False)).pipe(first)
    assert row["verdict"] == "undetermined"
    assert row["n"] == seeds
    assert math.isnan(row["lo"]) and math.isnan(row["p_value"])
    expected = {0: "no data", 1: "n=1: no uncertainty", 2: "n=2: no uncertainty"}[seeds]
    assert row["method"] == row["reason"] == expected
    assert expected in analysis.sentence(pd.Series(row)) or seeds == 0
    assert row["missing_candidate"] == 3 - seeds


def test_ten_seeds_bring_the_bootstrap_beside_t(tuned):
    row = analysis.compare(tuned.frames()).pipe(first)
    assert (row["n"], row["method"], row["iqm_method"]) == (10, "Welch t", "IQM, bootstrap")
    assert row["iqm_lo"] < row["iqm_est"] < row["iqm_hi"]
    assert "IQM" in analysis.sentence(pd.Series(row))


def test_only_the_confirm_stage_enters(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("mlp", 1000 + seed, [500.0 + seed])
        sweep.trial("flow", 1000 + seed, [500.0 + seed])
        sweep.trial("flow", seed, [999.0], stage="screen")
        sweep.trial("flow", 100 + seed, [999.0], stage="select")
    row = analysis.compare(sweep.frames()).pipe(first)
    assert (row["candidate_mean"], row["verdict"], row["n_candidate"]) == (501.0, "tie", 3)


def test_unfinished_stopped_and_crashed_trials_are_missing_not_scored(new_sweep):
    sweep = new_sweep()
    for seed in range(4):
        sweep.trial("mlp", seed, [500.0 + seed])
        sweep.trial("flow", seed, [600.0 + seed])
    sweep.trial("flow", 4, [5.0], status="running", epochs=500)
    sweep.trial("flow", 5, [5.0], status="stopped", epochs=500)
    sweep.trial("flow", 6, [5.0], status="failed", failure=("oom_host", "killed"))
    row = analysis.compare(sweep.frames(finish=False)).pipe(first)
    assert (row["n_candidate"], row["missing_candidate"]) == (4, 3)
    assert row["candidate_mean"] == 601.5


def test_a_diverged_seed_counts_as_doing_nothing_and_is_counted(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("mlp", seed, [600.0])
    sweep.trial("flow", 0, [600.0])
    sweep.trial("flow", 1, [600.0, np.nan])
    sweep.trial("flow", 2, [600.0], status="failed", failure=("diverged", "loss is nan"))
    frames = sweep.frames()
    row = analysis.compare(frames).pipe(first)
    assert row["candidate_mean"] == pytest.approx(200.0)
    assert (row["diverged_candidate"], row["diverged_baseline"]) == (2, 0)
    kept = analysis.trial_scores(frames, diverged=None)
    assert kept["value"].isna().sum() == 1


def test_the_final_score_is_the_mean_of_the_last_evaluations_and_at_picks_another(new_sweep):
    sweep = new_sweep()
    values = [0.0, 10.0, 20.0, 30.0, 100.0, 40.0]
    for seed in range(3):
        sweep.trial("mlp", seed, [0.0] * 6)
        sweep.trial("flow", seed, values)
    frames = sweep.frames()

    def mean(**options):
        return analysis.compare(frames, **options).pipe(first)["candidate_mean"]

    assert mean() == pytest.approx(40.0)  # (10 + 20 + 30 + 100 + 40) / 5
    assert mean(window=2) == pytest.approx(70.0)
    assert mean(at="peak", window=2) == pytest.approx(70.0)  # 65 and 70 are the last two means
    assert mean(at=40 * 2048, window=2) == pytest.approx(25.0)  # the fourth, at epoch 40
    # Smoothed by 2: 0, 5, 15, 25, 65, 70; trapezoids 2.5 + 10 + 20 + 45 + 67.5 over 5 steps.
    assert mean(at="aulc", window=2) == pytest.approx(29.0)


def test_small_scales_have_small_margins(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("mlp", seed, [2.0], task="point-mass")
        sweep.trial("flow", seed, [2.0], task="point-mass")
    frames = sweep.frames()
    assert analysis.compare(frames).iloc[0]["margin"] == pytest.approx(0.64)
    assert analysis.compare(frames, scale=1000).iloc[0]["margin"] == pytest.approx(10.0)
    with pytest.raises(analysis.InputError, match="unknown task in scale 'point-mass'"):
        analysis.compare(frames, scale={"walker": 1.0})


def test_an_arm_with_two_configurations_is_compared_by_configuration(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("mlp", seed, [500.0])
        sweep.trial("flow", seed, [500.0], config_id="c0000aaaa")
        sweep.trial("flow", seed, [700.0], config_id="c0000bbbb")
    frames = sweep.frames()
    table = analysis.compare(frames).set_index("candidate")["verdict"].to_dict()
    assert table == {"flow c0000aaaa": "tie", "flow c0000bbbb": "win"}
    with pytest.raises(analysis.InputError, match=r"'flow' is 2 configurations.*flow c0000aaaa"):
        analysis.compare(frames, baseline="flow")
    assert set(analysis.compare(frames, baseline="flow c0000aaaa")["candidate"]) == {"mlp"}


def test_a_baseline_that_is_not_planned_yet_gives_an_empty_table(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 1000, [500.0])
    table = analysis.compare(sweep.frames(finish=False))
    assert table.empty and "verdict" in table.columns
    assert analysis.headline(table).startswith("No result yet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "return_men"}, "unknown score 'return_men'; did you mean 'return_mean'"),
        ({"baseline": "mpl"}, "unknown baseline 'mpl'; did you mean 'mlp'"),
        ({"candidates": ["flw"]}, "unknown candidate 'flw'; did you mean 'flow'"),
        ({"at": "finl"}, "unknown at 'finl'; did you mean 'final'"),
        ({"pair": "yes"}, "unknown pair 'yes'; known: auto, paired, welch"),
        ({"stage": "confrm"}, "unknown stage 'confrm'; did you mean 'confirm'"),
        ({"correction": "x"}, "unknown correction 'x'"),
        ({"window": 0}, "window must be at least 1, a whole number, got 0"),
        ({"margin": -1.0}, "margin must be a share of at least 0"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(phase3, options, message):
    with pytest.raises(analysis.InputError, match=message):
        analysis.compare(phase3.frames(), **options)


def test_pairs_without_a_common_seed_are_an_error(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        sweep.trial("mlp", seed, [500.0])
        sweep.trial("flow", 10 + seed, [500.0])
    with pytest.raises(analysis.InputError, match="no seed is in both arms"):
        analysis.compare(sweep.frames(), pair="paired")


def test_the_headline_tells_verdict_interval_n_and_method(phase3):
    frames = phase3.frames()
    table = analysis.compare(frames)
    line = analysis.headline(table)
    for part in ("worse on cheetah-run", "[−16.0, −11.5]", "n=3", "paired t", "Holm over 3"):
        assert part in line
    one = analysis.headline(table[table["task"] == "walker-stand"])
    assert one.startswith("Undetermined whether flow is better than mlp on walker-stand: −117.9")
    assert "seeds per arm would show a difference of this size" in one
