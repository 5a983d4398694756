"""Several sweeps read as one, and functions that take a path."""

from pathlib import Path

import pytest

import analysis
from analysis.__main__ import main
from tests.analysis.conftest import Factory, Finished


@pytest.fixture
def two(new_sweep: Factory) -> list[Path]:
    """A sweep of the baseline, and one of a candidate that ran the baseline on one seed as well."""
    first = new_sweep("base", spec={"baseline": "mlp", "kind": "compare", "goal": "first"})
    for seed in range(3):
        first.trial("mlp", seed, [100.0 + seed] * 6)
    second = new_sweep("flow", spec={"baseline": "mlp", "kind": "compare", "goal": "second"})
    second.trial("mlp", 0, [100.0] * 6)
    for seed in range(3):
        second.trial("flow", seed, [200.0 + seed] * 6)
    return [first.finish(), second.finish()]


def test_an_arm_of_one_sweep_is_compared_with_an_arm_of_another(two: list[Path]) -> None:
    with pytest.warns(UserWarning, match="1 trials ran in several of the sweeps"):
        frames = analysis.load(two)
    # The seed that the baseline ran on twice is one sample, not two.
    (row,) = analysis.compare(frames).to_dict("records")
    assert (row["n_baseline"], row["n_candidate"], row["verdict"]) == (3, 3, "win")
    assert row["est"] == pytest.approx(100.0)
    assert frames.trials["trial_id"].is_unique and set(frames.trials["sweep"]) == {
        "base/20260101T000000-abcd",
        "flow/20260101T000000-abcd",
    }
    assert set(frames.evals["trial_id"]) == set(frames.trials["trial_id"])
    assert frames.spec == {"baseline": "mlp", "kind": "compare"}
    assert frames.finished and frames.name.startswith("2 sweeps: base/")


@pytest.mark.filterwarnings("ignore:1 trials ran in several")
def test_every_function_takes_a_path_or_several(two: list[Path], phase3: Finished) -> None:
    path = phase3.finish()
    assert analysis.compare(path).equals(analysis.compare(analysis.load(path)))
    assert analysis.summarize(str(path), window=3)["n"].tolist() == [3] * 6
    assert len(analysis.compare(two)) == 1 and len(analysis.curves(two)) > 0
    assert len(analysis.load(two, trials=["flow/20260101T000000-abcd/cchemlp-s0"]).trials) == 1
    with pytest.raises(analysis.InputError, match="no path to read"):
        analysis.load([])


def test_several_sweeps_have_a_report_where_it_is_told_to_go(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.warns(UserWarning, match="each counts once"),
        pytest.raises(analysis.InputError, match=r"say where report\.html should go"),
    ):
        analysis.report(two)
    paths = [str(path) for path in two]
    assert main(["report", *paths, "-o", str(tmp_path / "both.html")]) == 0
    assert "2 sweeps: base/" in (tmp_path / "both.html").read_text(encoding="utf-8")
    assert main(["compare", *paths]) == 0
    out, err = capsys.readouterr()
    assert "flow is better than mlp" in out and "each counts once" in err
