"""Questions that have no answer are told so, and never answered wrongly."""

from pathlib import Path

import pytest

import analysis
from tests.analysis.conftest import Factory, Finished


def test_a_sweep_that_is_named_twice_is_one(phase3: Finished, tmp_path: Path) -> None:
    path = phase3.finish()
    link = path.parent / "latest"
    link.symlink_to(path.name)
    assert analysis.compare([path, link]).equals(analysis.compare(path))


@pytest.mark.filterwarnings("ignore:.*ran in several")
def test_copies_of_one_name_are_told_apart_and_count_once(phase3: Finished, tmp_path: Path) -> None:
    import shutil

    path = phase3.finish()
    copy = tmp_path / "elsewhere" / path.parent.name / path.name
    shutil.copytree(path, copy)
    both = analysis.load([path, copy])
    assert both.trials["trial_id"].is_unique and len(both.trials) == 18
    assert len(both.evals) == len(analysis.load(path).evals)
    assert analysis.compare(both)["est"].equals(analysis.compare(path)["est"])


def test_a_score_without_a_best_value_has_no_verdict(phase3: Finished) -> None:
    frames = phase3.frames()
    for question in (analysis.compare, analysis.overall, analysis.cost):
        with pytest.raises(analysis.InputError, match=r"best possible 'loss/actor' .* give scale"):
            question(frames, score="loss/actor")
    with pytest.raises(analysis.InputError, match=r"full 'loss/actor' on .* is not known"):
        analysis.aggregate(frames, score="loss/actor")
    with pytest.raises(analysis.InputError, match="what more is better of"):
        analysis.select(frames, score="loss/actor")
    assert len(analysis.compare(frames, score="loss/actor", scale=1.0)) == 3
    assert not analysis.summarize(frames, score="loss/actor")["collapsed"].any()


def test_a_share_of_successes_is_measured_in_shares(new_sweep: Factory) -> None:
    folder = new_sweep()
    for seed in range(3):
        folder.trial("mlp", seed, [0.1, 0.1 + 0.01 * seed])
        folder.trial("flow", seed, [0.9, 0.9 + 0.01 * seed])
    frames = folder.frames()
    frames.evals["success"] = frames.evals["return_mean"].astype("float32")
    (row,) = analysis.compare(frames, score="success").to_dict("records")
    assert row["verdict"] == "win" and row["margin"] == pytest.approx(0.01)
    assert not row["not_learned"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"at": 10_000_000}, "beyond the longest run"),
        ({"at": -5.0}, "at must be above 0"),
        ({"scale": -1.0}, "scale must be above 0"),
        ({"margin": float("nan")}, "margin must be a share"),
        ({"window": 2.5}, "a whole number, got 2.5"),
        ({"baseline": "flow", "candidates": ["flow"]}, "cannot be its own candidate"),
    ],
)
def test_wrong_numbers_are_refused(phase3: Finished, options: dict, told: str) -> None:
    with pytest.raises(analysis.InputError, match=told):
        analysis.compare(phase3.frames(), **options)


def test_a_name_alone_is_no_list_of_letters(phase3: Finished, tmp_path: Path) -> None:
    path = phase3.finish()
    assert len(analysis.compare(path, candidates="flow")) == 3
    assert "loss/actor" in analysis.load(path, columns="loss/actor").reports
    assert len(analysis.export(path, tmp_path / "out", formats="card")) == 1


def test_a_report_does_not_go_into_a_folder_and_leaves_nothing_beside_it(
    phase3: Finished, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(analysis.InputError, match="is a folder; give the file"):
        analysis.report(phase3.frames(), tmp_path / "there")
    assert not list(tmp_path.glob(".*.tmp"))


def test_logs_without_a_seed_pair_with_none(tmp_path: Path) -> None:
    from tests.analysis.test_analysis_import_logs import single, write

    for name in ("train_5M_baseline_1", "train_5M_baseline_2", "train_5M_flow_v1_3"):
        write(tmp_path, f"{name}.out", f"# {name}\n" + single(1.0, 2.0, 3.0))
    (tmp_path / "notes.txt").write_text("pip list\n", encoding="utf-8")
    with pytest.warns(UserWarning, match=r"notes\.txt: no line of a training"):
        frames = analysis.import_logs(tmp_path)
    seeds = frames.trials["seed"]
    assert len(seeds) == 3 and (seeds < 0).all() and seeds.is_unique
    with pytest.raises(analysis.InputError, match="no seed is in both arms"):
        analysis.compare(frames, pair="paired")
    answers = analysis.checklist(frames).set_index("question")["answer"]
    assert answers["Are the seeds for tuning and for testing separate?"] == "unknown"
