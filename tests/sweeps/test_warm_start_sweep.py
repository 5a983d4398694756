"""A tuning that learns from a finished one: the real script, real Ray, real training, Optuna."""

import json
import math
from pathlib import Path

import pytest

from sweeps.core.protocol.study import JOURNAL
from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.state import SweepState, TrialRecord
from tests.sweeps.tiny import SIZES, Process, latest, state_of

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.long]

PATIENCE_S = 500.0
WORDS = [
    *SIZES,
    "epochs=40",
    "integrator=[euler]",
    "substeps=[1]",
    "optim.wm_lr=loguniform(1e-4,1e-2)",
    "screen.trials=3",
    "screen.rungs=[0.5]",
    "select.top=1",
    "confirm.seeds=1",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A finished sweep, one that began with what it knew, and what that said."""
    cwd = tmp_path_factory.mktemp("warm")
    folders, said = [], ""
    for words in ([*WORDS], [*WORDS, "--warm-start", "results", "search.seed=1"]):
        process = Process(cwd, *words)
        try:
            assert process.end(PATIENCE_S) == ExitCode.OK, process.text
        finally:
            process.kill()
        folders.append(latest(cwd))
        said = process.text
    return folders[0], folders[1], said


def screened(state: SweepState) -> list[TrialRecord]:
    return [trial for trial in state.trials.values() if trial.stage == "screen"]


def test_the_best_is_taken_over_with_its_rows_and_the_others_are_new(
    runs: tuple[Path, Path, str],
) -> None:
    old, new = (state_of(folder) for folder in runs[:2])
    whole = [trial for trial in screened(old) if trial.status == "COMPLETED"]
    best = max(whole, key=lambda trial: trial.score or -math.inf)
    taken, *others = screened(new)
    assert taken.trial_id == best.trial_id and taken.score == best.score
    assert taken.taken_from == f"flow_tuning/{runs[0].name}"
    assert len(others) == 2
    assert not {t.trial_id for t in others} & {t.trial_id for t in screened(old)}
    before, after = (read_tables(folder, trials=[best.trial_id]) for folder in runs[:2])
    assert len(after.evals) == 4 and after.evals.equals(before.evals)
    assert after.reports.equals(before.reports)


def test_what_is_selected_and_confirmed_runs_in_its_own_sweep(
    runs: tuple[Path, Path, str],
) -> None:
    state = state_of(runs[1])
    started = {e["trial_id"] for e in read_events(runs[1]) if e["event"] == "started"}
    later = [trial for trial in state.trials.values() if trial.stage != "screen"]
    assert len(later) == 3 and {trial.trial_id for trial in later} <= started
    assert all(trial.taken_from is None for trial in later)
    assert screened(state)[0].trial_id not in started


def test_the_study_began_with_the_earlier_trials(runs: tuple[Path, Path, str]) -> None:
    lines = [json.loads(line) for line in (runs[1] / JOURNAL).read_text().splitlines()]
    text = json.dumps(lines)
    for trial in screened(state_of(runs[0])):
        assert f"{runs[0]} {trial.trial_id}" in text


def test_the_first_trial_at_a_rung_is_judged_by_earlier_ones(runs: tuple[Path, Path, str]) -> None:
    earlier = [rung.score for rung in state_of(runs[0]).rungs]
    assert len(earlier) == 3 and None not in earlier
    scores = [score for score in earlier if score is not None]
    for rung in state_of(runs[1]).rungs:
        assert rung.score is not None
        scores.append(rung.score)
        keep = math.ceil(len(scores) / 2)
        assert rung.cutoff == sorted(scores, reverse=True)[keep - 1]
        assert rung.decision == ("continue" if rung.score >= rung.cutoff else "stop")


def test_the_page_says_what_is_used_and_why_the_rest_is_not(runs: tuple[Path, Path, str]) -> None:
    said = " ".join(runs[2].split())
    assert f"3 of 6 trials of flow_tuning/{runs[0].name} used; 3 left out:" in said
    assert "on a seed that is kept for select or confirm" in said
    assert "screening only: the study begins with 3 observations" in said
    assert "3 scores in rungs" in said
    assert "WARN warm start: test seeds 1000 were used by the sweeps that this one learns" in said
    assert "test seeds 1000 were used before" in (runs[1] / "report.html").read_text()
