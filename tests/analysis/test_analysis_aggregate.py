"""Aggregates, profiles and chances of improvement of a sweep, and what is missing from it."""

import numpy as np
import pytest

import analysis
from sweeps.core.reference.scales import scales
from tests.analysis.conftest import PHASE3, Factory


@pytest.fixture
def phase3(new_sweep: Factory) -> analysis.Frames:
    folder = new_sweep()
    for task, arms in PHASE3.items():
        for arm, returns in arms.items():
            for seed, value in zip((42, 123, 456), returns, strict=True):
                folder.trial(arm, seed, [value] * 6, task=task)
    # One arm alone has tried a fourth task.
    folder.trial("flow", 42, [10.0] * 6, task="walker-run", config_id="cwalkerrun")
    return folder.frames()


def test_every_arm_is_put_together_over_the_tasks_that_all_have(phase3: analysis.Frames) -> None:
    table = analysis.aggregate(phase3)
    assert set(table["tasks"]) == {3} and set(table["missing"]) == {"walker-run"}
    assert set(table["n"]) == {3} and set(table["runs"]) == {9}
    by = table.set_index(["label", "statistic"])["est"]
    for arm in ("mlp", "flow"):
        means = [np.mean(arms[arm]) / 1000 for arms in PHASE3.values()]
        assert by[arm, "mean"] == pytest.approx(np.mean(means))
        assert by[arm, "median"] == pytest.approx(np.median(means))
        assert by[arm, "optimality_gap"] == pytest.approx(1 - np.mean(means))
    known = table.dropna(subset=["lo"])
    assert len(known) == len(table)
    assert ((known["lo"] <= known["est"]) & (known["est"] <= known["hi"])).all()


def test_a_given_scale_goes_before_the_table(phase3: analysis.Frames) -> None:
    given = {"reacher-easy": (900.0, 1000.0), "cheetah-run": 500.0}
    table = analysis.aggregate(phase3, stat="mean", normalize=given).set_index("label")
    arms = {task: np.mean(values["mlp"]) for task, values in PHASE3.items()}
    expected = [(arms["reacher-easy"] - 900) / 100, arms["walker-stand"] / 1000]
    expected.append(arms["cheetah-run"] / 500)
    assert table.loc["mlp", "est"] == pytest.approx(np.mean(expected))
    assert set(table["scale"]) == {"given, else table 1"}


def test_what_cannot_be_put_together_is_refused(
    new_sweep: Factory, phase3: analysis.Frames
) -> None:
    folder = new_sweep("own")
    for seed in range(3):
        folder.trial("mlp", seed, [1.0] * 6, task="my.envs:Crane", config_id="ccrane")
    with pytest.raises(
        analysis.InputError, match=r"give normalize=\{'my\.envs:Crane': \(zero, one\)\}"
    ):
        analysis.aggregate(folder.frames())
    with pytest.raises(analysis.InputError, match="unknown statistic 'imq'; did you mean 'iqm'"):
        analysis.aggregate(phase3, stat="imq")
    with pytest.raises(analysis.InputError, match="must rise, got 5 to 5"):
        analysis.aggregate(phase3, normalize={"cheetah-run": (5.0, 5.0)})
    with pytest.raises(analysis.InputError, match="unknown label 'flwo'"):
        analysis.prob_improvement(phase3, "flwo", "mlp")
    with pytest.raises(analysis.InputError, match="at least 2 taus"):
        analysis.performance_profile(phase3, taus=1)


def test_profiles_count_runs_above_every_score(phase3: analysis.Frames) -> None:
    table = analysis.performance_profile(phase3, taus=[0.0, 0.5, 0.97, 2.0])
    mlp = table[table["label"] == "mlp"].set_index("tau")["est"]
    # Above .97: reacher-easy 3 of 3, walker-stand 2 of 3, cheetah-run none.
    assert mlp.to_dict() == pytest.approx({0.0: 1.0, 0.5: 2 / 3, 0.97: (1 + 2 / 3) / 3, 2.0: 0.0})
    assert len(analysis.performance_profile(phase3)) == 2 * 51


def test_the_chance_of_improvement_has_a_row_a_task_and_one_for_all(
    phase3: analysis.Frames,
) -> None:
    table = analysis.prob_improvement(phase3, "flow", "mlp").set_index("task")
    assert list(table.index) == [*sorted(PHASE3), "all"]
    assert table.loc["walker-stand", "est"] == 0.0 and table.loc["walker-stand", "hi"] > 0.3
    assert table.loc["all", "est"] == pytest.approx(table["est"].iloc[:3].mean())


def test_coverage_counts_what_became_of_every_planned_seed(new_sweep: Factory) -> None:
    folder = new_sweep()
    for seed, status in enumerate(("completed", "completed", "failed", "running", "stopped")):
        folder.trial("flow", seed, [1.0] * 6, status=status)
    folder.trial("flow", 9, [1.0, float("nan")], status="failed", failure=("diverged", "nan"))
    (row,) = analysis.coverage(folder.frames(finish=False)).to_dict("records")
    numbers = {k: v for k, v in row.items() if isinstance(v, int)}
    assert numbers == {
        "planned": 6,
        "results": 3,
        "diverged": 1,
        "failed": 1,
        "stopped": 1,
        "unfinished": 1,
    }


def test_the_table_of_scales_holds_scales() -> None:
    assert len(scales()) >= 37
    assert all(scale.one > scale.zero for scale in scales().values())
