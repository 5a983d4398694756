"""The recorded sweep that ships with the package, and the tutorial that reads it."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

import analysis
from analysis.example.__main__ import KEPT, record
from tests.analysis.conftest import Factory

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"


def test_the_example_is_a_whole_sweep_of_three_stages(tmp_path: Path) -> None:
    folder = analysis.example(tmp_path)
    frames = analysis.load(folder)
    assert frames.finished and {"screen", "select", "confirm"} == set(frames.trials["stage"])
    assert len(frames.evals) and len(frames.reports)
    assert not analysis.compare(frames).empty
    analysis.note(folder, "mine")
    assert analysis.example(tmp_path) == folder  # and does not take the note away
    assert "mine" in str(analysis.registry(folder, fmt="md"))


def test_the_example_tells_nothing_of_the_machine_but_its_kind(tmp_path: Path) -> None:
    private = re.compile(rb"/(?:home|root|work|tmp|Users)/|(?:\d{1,3}\.){3}\d{1,3}:\d")
    for path in analysis.example(tmp_path).rglob("*"):
        if path.is_file():
            assert not private.search(path.read_bytes()), path


def test_a_finished_run_is_recorded_and_a_running_one_is_not(
    new_sweep: Factory, tmp_path: Path
) -> None:
    sweep = new_sweep()
    sweep.trial("flow", 1000, [1.0, 2.0])
    with pytest.raises(analysis.InputError, match="not finished"):
        record(sweep.path, tmp_path / "kept")
    for name in KEPT[:3]:
        (sweep.path / name).write_text("{}\n", encoding="utf-8")
    frames = sweep.frames()
    kept = analysis.load(record(sweep.path, tmp_path / "kept"))
    assert kept.evals.equals(frames.evals) and kept.trials.equals(frames.trials)


@pytest.mark.slow
def test_the_tutorial_runs_and_says_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The notebook lies in docs/; the package need not be installed, as in all other tests.
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    kept = nbformat.read(NOTEBOOK, as_version=4)
    run = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        run, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for before, after in zip(kept.cells, run.cells, strict=True):
        if after.cell_type == "code":
            assert said(after) == said(before), after.source


def said(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell prints and the text of its value; pictures depend on fonts."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif "image/png" not in output.get("data", {}):
            texts.append(output.data["text/plain"])
    return texts
