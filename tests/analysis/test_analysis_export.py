"""Results in the forms of others, read back as they would read them; a paper's files."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

import analysis
from analysis.figures import FIGURES, View
from analysis.paper import COLUMN, fit_column, tabular
from tests.analysis.conftest import PHASE3, Finished

#: The module, which the function of its name hides.
paper_module = sys.modules["analysis.paper"]


def test_curves_are_written_as_tdmpc2_keeps_them(phase3: Finished, tmp_path) -> None:
    frames = phase3.frames()
    paths = analysis.export(frames, tmp_path / "out", formats=["tdmpc2"])
    assert len(paths) == 6
    curve = pd.read_csv(tmp_path / "out" / "tdmpc2" / "flow" / "walker-stand.csv")
    assert list(curve.columns) == ["step", "reward", "seed"]
    last = curve.sort_values("step").groupby("seed")["reward"].last()
    assert last.to_dict() == dict(zip((42, 123, 456), PHASE3["walker-stand"]["flow"], strict=True))
    assert pd.api.types.is_integer_dtype(curve["step"])


def test_scores_are_written_in_rliables_shape(phase3: Finished, tmp_path) -> None:
    (path,) = analysis.export(phase3.frames(), tmp_path, formats=["rliable"])
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["tasks"].tolist() == sorted(PHASE3)
        assert arrays["flow"].shape == arrays["mlp"].shape == (3, 3)
        expected = [np.mean(PHASE3[task]["mlp"]) for task in sorted(PHASE3)]
        assert arrays["mlp"].mean(axis=0) == pytest.approx(expected)


def test_tables_are_written_whole(phase3: Finished, tmp_path) -> None:
    frames = phase3.frames()
    analysis.export(frames, tmp_path, formats=["csv"])
    trials, evals = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("trials", "evals"))
    assert list(trials["trial_id"]) == list(frames.trials["trial_id"])
    assert len(evals) == len(frames.evals) and len(json.loads(evals["returns"].iloc[0])) == 2
    with pytest.raises(analysis.InputError, match="unknown format 'cvs'; did you mean 'csv'"):
        analysis.export(frames, tmp_path, formats=["cvs"])


def test_the_card_holds_a_model_index(phase3: Finished, tmp_path) -> None:
    (path,) = analysis.export(phase3.frames(), tmp_path, formats=["card"])
    _, head, body = path.read_text().split("---\n", 2)
    found = yaml.safe_load(head)
    assert [model["name"] for model in found["model-index"]] == ["flow", "mlp"]
    first = found["model-index"][1]["results"][0]
    assert first["metrics"][0]["type"] == "mean_reward"
    assert re.fullmatch(r"\d+\.\d\d \+/- \d+\.\d\d", first["metrics"][0]["value"])
    assert "flow is worse than mlp" in body or "flow against mlp" in body


def test_a_paper_gets_tables_figures_and_a_checklist(
    phase3: Finished, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = phase3.frames()
    drawn = {name: FIGURES[name] for name in ("differences", "learning_curves", "timeline")}
    monkeypatch.setattr(paper_module, "FIGURES", drawn)  # fonts make every file slow
    analysis.report(frames, tmp_path / "report.html", paper=tmp_path / "paper")
    names = {path.name for path in (tmp_path / "paper").iterdir()}
    assert {"comparison.tex", "aggregates.tex", "costs.tex", "checklist.md"} <= names
    assert {"differences-all-tasks.pdf", "learning_curves-walker-stand.pdf"} <= names
    assert not any(name.startswith("timeline") for name in names)  # it is in no paper
    text = (tmp_path / "paper" / "comparison.tex").read_text()
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 4 and all(row.count(" & ") == rows[0].count(" & ") for row in rows)
    assert "[$-$16.0, $-$11.5]" in text and "lose" in text
    for path in (tmp_path / "paper").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes())
        assert box is not None and float(box[1]) == pytest.approx(72 * COLUMN, abs=1)


def test_latex_is_escaped() -> None:
    text = tabular(pd.DataFrame({"a_b": ["50 % & more", "c\\d^~#$"], "n": ["1", "2,000"]}))
    assert "\\begin{tabular}{lr}" in text and "a\\_b & n" in text
    assert "50 \\% \\& more" in text
    assert "c\\textbackslash{}d\\textasciicircum{}\\textasciitilde{}\\#\\$" in text


def test_text_of_a_column_stays_readable(tuned: Finished) -> None:
    frames = tuned.frames()
    view = View(frames, analysis.compare(frames))
    entry = FIGURES["learning_curves"]
    figure = fit_column(entry.draw(view, entry.panels(view)[0]))
    assert figure.get_size_inches()[0] == pytest.approx(COLUMN)
    sizes = [text.get_fontsize() for text in figure.axes[0].get_xticklabels()]
    assert min(sizes) >= 5.5


def test_the_checklist_tells_what_was_done_and_what_is_not_known(
    tuned: Finished, phase3: Finished
) -> None:
    table = analysis.checklist(tuned.frames()).set_index("question")
    seeds = table.loc["Are the seeds for tuning and for testing separate?"]
    assert seeds["answer"] == "yes" and "seeds 1000-1009" in seeds["evidence"]
    tuned_alike = table.loc["Was the baseline tuned as much as the candidate?"]
    assert tuned_alike["answer"] == "no" and "mlp ran with its preset" in tuned_alike["evidence"]
    again = table.loc["Can it be run again?"]
    assert again["answer"] in ("yes", "no", "unknown")
    plain = analysis.checklist(phase3.frames()).set_index("question")
    assert plain.loc["What was the search space?", "answer"] == "unknown"


def test_without_plotly_the_interactive_page_says_what_to_install(
    tuned: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(analysis.InputError, match="pip install flowpwm"):
        analysis.interactive(tuned.frames())
