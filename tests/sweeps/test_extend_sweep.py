"""Sweeps that are extended, finished and interrupted: the real script, Ray and training."""

import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

import analysis
from sweeps.core.driver.main import main
from sweeps.core.store.compact import Tables, read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import COMPARE, RUN, Process, latest, state_of

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.long]

SCRIPT = "single_task"
WORDS = [*RUN, "preset=laptop", "task=point-mass", "arms=[mlp,flow]", "seeds=[42,7]", "epochs=40"]
PATIENCE_S = 500.0
Key = tuple[str, int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables, str]:
    """A finished sweep extended by a seed: its folder, its tables before, what was said."""
    cwd = tmp_path_factory.mktemp("extend")
    first = Process(cwd, *WORDS, script=SCRIPT)
    second = None
    try:
        assert first.end(PATIENCE_S) == ExitCode.OK, first.text
        before = read_tables(latest(cwd, SCRIPT))
        words = ["--extend", f"results/{SCRIPT}/latest", "seeds=3"]
        second = Process(cwd, *words, script=SCRIPT)
        assert second.end(PATIENCE_S) == ExitCode.OK, second.text
    finally:
        first.kill()
        if second is not None:
            second.kill()
    return latest(cwd, SCRIPT), before, second.text


def of_trials(table: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    return table.filter(pc.is_in(table["trial_id"], ids.combine_chunks())).combine_chunks()


def keys(table: pa.Table) -> set[Key]:
    return {(row["arm"], row["seed"]) for row in table.to_pylist()}


def test_only_the_trials_of_the_new_seed_run(finished: tuple[Path, Tables, str]) -> None:
    folder, before, _ = finished
    events = read_events(folder)
    at = next(i for i, event in enumerate(events) if event["event"] == "extended")
    trials = state_of(folder).trials
    started = [trials[e["trial_id"]] for e in events[at:] if e["event"] == "started"]
    assert sorted((t.arm, t.seed) for t in started) == [("flow", 1000), ("mlp", 1000)]
    assert keys(before.trials) == {(arm, seed) for arm in ("mlp", "flow") for seed in (42, 7)}
    after = read_tables(folder).trials
    assert keys(after) == keys(before.trials) | {("mlp", 1000), ("flow", 1000)}
    assert set(after["status"].to_pylist()) == {"COMPLETED"}


def test_the_rows_of_what_ran_are_the_same_to_the_bit(finished: tuple[Path, Tables, str]) -> None:
    folder, before, _ = finished
    after = read_tables(folder)
    for kind in ("trials", "reports", "evals"):
        old = getattr(before, kind).combine_chunks()
        assert len(old) > 0
        assert of_trials(getattr(after, kind), before.trials["trial_id"]).equals(old)


def test_the_folder_tells_its_history(finished: tuple[Path, Tables, str]) -> None:
    folder, _, said = finished
    old = yaml.safe_load((folder / "sweep-1.yaml").read_text())
    new = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert (old["confirm"]["seeds"], new["confirm"]["seeds"]) == ([42, 7], [42, 7, 1000])
    (event,) = [e for e in read_events(folder) if e["event"] == "extended"]
    assert event["before"] == "sweep-1.yaml" and event["added"] == {"confirm.seeds": "1000"}
    assert event["spec"] == new
    (extension,) = state_of(folder).extensions
    assert (extension.scored, extension.seeds) == (4, (7, 42))
    for part in ("confirm.seeds 1000", "4 trials: 4 completed", "2 more trials"):
        assert part in said
    assert "RESULT on test seeds 42, 7, 1000" in said and "n=3 seeds" in said


def test_the_report_says_that_seeds_were_added_after_a_look(
    finished: tuple[Path, Tables, str],
) -> None:
    folder, _, said = finished
    frames = analysis.load(folder)
    (sentence,) = analysis.looks(frames)
    assert sentence.startswith("Seeds were added after a look: 1000 after 4 scored trials.")
    report = (folder / "report.html").read_text()
    assert "Seeds were added after a look" in report and "extended once" in report
    assert "WARN" in said and "up to 10% instead of 5%" in " ".join(said.split())


def test_what_would_change_a_finished_trial_is_refused_and_nothing_is_written(
    finished: tuple[Path, Tables, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    extend = ["--extend", str(folder)]
    for words, says in {
        ("horizon=8",): "cannot change horizon: 4 then, 8 now",
        ("seeds=[42,7]",): "cannot take confirm.seeds 1000 away",
        ("seeds=2",): "seeds=2 is fewer than the 3 that there are",
        ("arms=[mlp,flow_v1]",): "cannot take arms flow away",
        (): "--extend adds nothing",
    }.items():
        assert main(COMPARE, [*extend, *words]) == ExitCode.USAGE
        assert says in capsys.readouterr().err
    assert main(COMPARE, [*extend, "arms=[flow_v1,mlp,flow]", "--dry-run"]) == ExitCode.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "flow_v1 on point-mass: seeds 42, 7, 1000" in said and "6 trials: 6 completed" in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.long
def test_an_interrupted_sweep_is_extended_and_goes_on(tmp_path: Path) -> None:
    first = Process(tmp_path, *WORDS, script=SCRIPT)
    second = None
    try:
        first.wait_for(lambda: "done  confirm" in first.text, PATIENCE_S)
        first.send(signal.SIGTERM)
        assert first.popen.returncode == ExitCode.INTERRUPTED, first.text
        folder = latest(tmp_path, SCRIPT)
        done = {t.trial_id for t in state_of(folder).trials.values() if t.final}
        assert 0 < len(done) < 4
        words = ["--extend", str(folder), "arms=[mlp,flow,flow_v1]", "seeds=[42,7,5]"]
        second = Process(tmp_path, *words, script=SCRIPT)
        assert second.end(PATIENCE_S) == ExitCode.OK, second.text
    finally:
        first.kill()
        if second is not None:
            second.kill()
    trials = read_tables(folder).trials
    assert keys(trials) == {(a, s) for a in ("mlp", "flow", "flow_v1") for s in (42, 7, 5)}
    assert set(trials["status"].to_pylist()) == {"COMPLETED"}
    events = read_events(folder)
    at = next(i for i, event in enumerate(events) if event["event"] == "extended")
    assert not done & {e["trial_id"] for e in events[at:] if e["event"] == "started"}
