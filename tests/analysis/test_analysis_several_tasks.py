"""Several tasks, several values, several candidates: a verdict for each, and one over all."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

import analysis
from analysis import stats
from analysis.checks import warnings_of
from analysis.figures import FIGURES, View
from analysis.scores import scale_of
from flowpwm.envs import ENVS
from sweeps.core.reference.scales import scales

WALK_REACH = "walker-stand+reacher-easy"


def grid(**space: list[Any]) -> dict[str, Any]:
    """What a sweep that compares says of itself."""
    return {"kind": "compare", "baseline": "mlp", "space": space}


def only(table):
    """The one row of a table."""
    (row,) = table.to_dict("records")
    return row


def test_the_tasks_together_are_the_mean_of_their_differences_with_its_interval(phase3):
    row = only(analysis.overall(phase3.frames()))
    pairs = np.array(  # flow - mlp by task and seed, from the table of phase 3
        [[-4.5, -0.1, -0.3], [-117.79, -178.56, -57.45], [-12.72, -14.05, -14.45]]
    )
    parts = pairs.var(axis=1, ddof=1) / 3 / 9  # variance of each mean, weighted by a third
    df = parts.sum() ** 2 / (parts**2 / 2).sum()
    half = student.ppf(0.975, df) * math.sqrt(parts.sum())
    est = pairs.mean()
    assert row["est"] == pytest.approx(est / 1000, abs=1e-9)
    assert (row["lo"], row["hi"]) == pytest.approx(((est - half) / 1000, (est + half) / 1000))
    assert (row["tasks"], row["n"], row["method"]) == (3, 3, "mean over tasks, paired t")
    # 5 % of (982.3 + 957.7167 + 112.4833) / 3 / 1000.
    assert row["margin"] == pytest.approx(0.05 * 0.684167, abs=1e-6)
    assert row["verdict"] == "undetermined"
    assert row["candidate_mean"] - row["baseline_mean"] == pytest.approx(row["est"])


def test_one_task_has_no_line_over_all_tasks(tuned):
    frames = tuned.frames()
    assert analysis.overall(frames).empty
    assert analysis.conclusions(frames) == [analysis.headline(analysis.compare(frames))]


def test_a_run_on_several_tasks_is_one_value_a_seed(new_sweep):
    sweep = new_sweep()
    walk = {"mlp": (500.0, 520.0, 480.0), "flow": (700.0, 600.0, 650.0)}
    reach = {"mlp": (100.0, 80.0, 120.0), "flow": (300.0, 420.0, 330.0)}
    for arm in ("mlp", "flow"):
        for seed in range(3):
            values = {"walker-stand": [walk[arm][seed]], "reacher-easy": [reach[arm][seed]]}
            sweep.trial(arm, seed, values, task=WALK_REACH)
    frames = sweep.frames()
    table = analysis.compare(frames)
    assert table["task"].tolist() == ["reacher-easy", "walker-stand"]
    assert table["est"].tolist() == pytest.approx([250.0, 150.0])
    assert set(table["n"]) == {3}
    row = only(analysis.overall(frames))
    # Means over the tasks: mlp .3, .3, .3; flow .5, .51, .49.
    expected = stats.welch_difference([0.5, 0.51, 0.49], [0.3, 0.3, 0.3])
    assert (row["est"], row["lo"], row["hi"]) == pytest.approx(
        (expected.est, expected.lo, expected.hi)
    )
    assert (row["tasks"], row["n"], row["verdict"]) == (2, 3, "win")
    assert frames.trials.set_index("seed")["score"].to_dict()[2] in (300.0, 490.0)


def test_a_task_that_runs_alone_and_with_others_is_compared_apart(new_sweep):
    sweep = new_sweep()
    for arm, level in (("mlp", 400.0), ("flow", 500.0)):
        for seed in range(3):
            sweep.trial(arm, seed, [level + seed], task="walker-stand", config_id=f"c{arm}1")
            values = {"walker-stand": [level - 100 + seed], "reacher-easy": [level]}
            sweep.trial(arm, seed, values, task=WALK_REACH, config_id=f"c{arm}2")
    frames = sweep.frames()
    table = analysis.compare(frames).set_index(["task", "cell"])["candidate_mean"]
    assert table.to_dict() == {
        ("reacher-easy", ""): 500.0,
        ("walker-stand", "run=walker-stand"): 501.0,
        ("walker-stand", f"run={WALK_REACH}"): 401.0,
    }
    row = only(analysis.overall(frames))
    # Weights by tasks: a third for the single runs, two thirds for the others.
    assert row["est"] == pytest.approx(0.1)
    assert row["tasks"] == 3


def test_a_task_without_a_result_in_an_arm_is_left_out_and_named(new_sweep):
    sweep = new_sweep()
    for seed in range(3):
        for task in ("walker-stand", "cheetah-run"):
            sweep.trial("mlp", seed, [500.0 + seed], task=task)
        sweep.trial("flow", seed, [600.0 + seed], task="walker-stand")
        sweep.trial("flow", seed, [1.0], task="cheetah-run", status="failed")
    row = only(analysis.overall(sweep.frames()))
    assert (row["tasks"], row["est"]) == (1, pytest.approx(0.1))
    assert row["reason"].endswith("without cheetah-run")


def test_a_run_on_several_tasks_that_never_came_to_an_evaluation_is_missing_on_each(new_sweep):
    sweep = new_sweep()
    for arm in ("mlp", "flow"):
        for seed in range(3):
            values = {"walker-stand": [5.0], "reacher-easy": [6.0]}
            sweep.trial(arm, seed, values, task=WALK_REACH)
    sweep.trial("flow", 3, [], task=WALK_REACH, status="failed", epochs=100)
    frames = sweep.frames()
    table = analysis.compare(frames)
    assert table["missing_candidate"].tolist() == [1, 1]
    text = "\n".join(warnings_of(frames, table))
    assert text.count("Missing: 1 of 4 seeds of flow on") == 2


def two_budgets(new_sweep):
    """Both arms at 5,000 and 20,000 epochs; flow at two numbers of substeps as well."""
    space = {"epochs": [20_000, 5_000], "world_model.substeps": [2, 4]}
    sweep = new_sweep(spec=grid(**space))
    for epochs, base in ((20_000, 500.0), (5_000, 300.0)):
        for seed in range(3):
            params = {"epochs": epochs}
            name = f"cm{epochs}"
            sweep.trial("mlp", seed, [base + seed] * 2, config_id=name, params=params)
            for substeps in (2, 4):
                own = params | {"world_model.substeps": substeps}
                value = base + 100 * substeps + seed
                name = f"cf{epochs}{substeps}"
                sweep.trial("flow", seed, [value] * 2, config_id=name, params=own)
    return sweep.frames()


def test_values_that_the_baseline_has_too_are_compared_by_themselves(new_sweep):
    table = analysis.compare(two_budgets(new_sweep))
    rows = table[["cell", "candidate", "baseline_mean", "est"]].itertuples(index=False, name=None)
    assert [tuple(row) for row in rows] == [
        ("epochs=5000", "flow substeps=2", 301.0, 200.0),
        ("epochs=5000", "flow substeps=4", 301.0, 400.0),
        ("epochs=20000", "flow substeps=2", 501.0, 200.0),
        ("epochs=20000", "flow substeps=4", 501.0, 400.0),
    ]
    assert set(table["correction"]) == {"Holm over 4"}


def test_a_sentence_for_each_candidate_names_task_and_value(new_sweep):
    frames = two_budgets(new_sweep)
    first, second = analysis.conclusions(frames)
    assert first.startswith(
        "flow substeps=2 against mlp: better on cheetah-run at epochs=5000 +200"
    )
    assert second.startswith("flow substeps=4 against mlp: better on cheetah-run at epochs=5000")
    one = analysis.sentence(analysis.compare(frames).iloc[0])
    assert one.startswith(
        "flow substeps=2 is better than mlp on cheetah-run at epochs=5000: +200.0"
    )


def test_learning_curves_of_different_budgets_are_not_averaged(new_sweep):
    frames = two_budgets(new_sweep)
    table = analysis.curves(frames, by="label")
    assert list(table.columns[:4]) == ["task", "cell", "label", "env_steps"]
    assert set(table["n"]) == {3}
    assert len(table.groupby(["cell", "label"])) == 6
    view = View(frames, analysis.compare(frames))
    for name in ("learning_curves", "seeds", "peak_final"):
        places = ["cheetah-run at epochs=5000", "cheetah-run at epochs=20000"]
        assert FIGURES[name].panels(view) == places
        FIGURES[name].draw(view, places[0])


def test_many_tasks_are_counted_instead_of_listed(new_sweep):
    sweep = new_sweep()
    for i in range(15):
        for seed in range(3):
            sweep.trial("mlp", seed, [500.0 + seed], task=f"t{i:02d}")
            sweep.trial("flow", seed, [(700.0 if i < 2 else 500.0) + seed], task=f"t{i:02d}")
    line, together = analysis.conclusions(sweep.frames())
    assert line.startswith("flow against mlp: better on 2 of 15 (t00, t01), a tie on 13 of 15 (95%")
    # 2 tasks of 15 with 200 points more: 400 / 15 / 1000.
    assert "over 15 tasks: +0.027" in together


def test_runs_from_a_dataset_are_counted_in_epochs_everywhere(new_sweep):
    sweep = new_sweep(spec={"baseline": "mlp"})
    rising = [50.0 * i for i in range(1, 21)]
    for seed in range(3):
        sweep.trial("mlp", seed, rising, steps_per_epoch=0)
        sweep.trial("flow", seed, rising[:10], steps_per_epoch=0)
    frames = sweep.frames()
    curve = analysis.curves(frames)
    assert list(curve.columns[:3]) == ["task", "arm", "epochs"]
    assert curve.loc[curve["arm"] == "flow", "epochs"].tolist() == list(range(10, 101, 10))
    # Smoothed by 1 the curve is 50, 100, ..., 500 at 10, ..., 100: its mean by trapezoids is 275.
    scores = analysis.trial_scores(frames, at="aulc", window=1).groupby("arm")["value"].mean()
    assert scores["flow"] == pytest.approx(275.0)
    at = analysis.trial_scores(frames, at=40, window=1).groupby("arm")["value"].mean()
    assert at.to_dict() == {"flow": 200.0, "mlp": 200.0}
    text = "\n".join(warnings_of(frames, analysis.compare(frames)))
    assert "Unequal budgets on cheetah-run: flow 100, mlp 200 epochs per seed; use at=100" in text
    assert "Still improving in the last fifth" in text
    view = View(frames, analysis.compare(frames))
    (name,) = FIGURES["learning_curves"].panels(view)
    axes = FIGURES["learning_curves"].draw(view, name).axes[0]
    assert axes.get_xlabel() == "epochs"


def test_the_report_has_the_tasks_one_by_one_and_together(phase3):
    frames = phase3.frames()
    html = analysis.report(frames).read_text()
    box = re.search(r'<div class="verdict[^"]*">(.*?)</div>', html)
    assert box and "worse on cheetah-run" in box[1]
    assert "better than mlp over 3 tasks: −0.044" in box[1]
    assert "All tasks together" in html


def test_the_command_line_tells_of_all_tasks_too(phase3, capsys):
    from analysis.__main__ import main

    assert main(["compare", str(phase3.finish())]) == 0
    out = capsys.readouterr().out
    assert "over 3 tasks: −0.044" in out
    assert main(["curves", str(phase3.path), "--x", "epochs"]) == 0


@pytest.mark.parametrize("paired", [True, False])
def test_one_stratum_is_the_plain_difference(paired):
    c, b = [1.0, 2.0, 4.0], [0.5, 1.0, 3.5]
    plain = stats.paired_difference(c, b) if paired else stats.welch_difference(c, b)
    found = stats.stratified_difference([(c, b)], [1.0], paired=paired)
    for name in ("est", "lo", "hi", "p_value", "lo90", "hi90", "n", "sd"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name)), name


def test_strata_need_weights_that_add_up_and_pairs_of_equal_length():
    values = [1.0, 2.0, 3.0]
    for weights in ([], [0.5], [0.5, 0.6]):
        with pytest.raises(ValueError, match="strata need"):
            stats.stratified_difference([(values, values)] * 2, weights, paired=False)
    with pytest.raises(ValueError, match="equal lengths, got 3 and 4"):
        stats.stratified_difference([(values, [*values, 4.0])], [1.0], paired=True)


def test_scales_are_those_of_the_tasks():
    for name, spec in ENVS.items():
        if name != "ant":  # its bound is far beyond what any agent reaches
            assert scale_of(name, None) == spec.return_high, name
    assert set(ENVS) <= set(scales())
    assert scales()["ant"].one < ENVS["ant"].return_high
