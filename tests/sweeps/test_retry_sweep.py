"""A sweep in which nothing works, and what it takes to go on when that is mended."""

from pathlib import Path

import pytest

from sweeps.core.protocol.retries import MOST_IN_A_ROW
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import RUN, Process, latest, state_of

SEEDS = MOST_IN_A_ROW + 4


@pytest.mark.long
@pytest.mark.fault
def test_a_sweep_in_which_all_fail_stops_and_runs_them_again_when_asked(tmp_path: Path) -> None:
    plug = tmp_path / "plug"
    task = "task=tests.sweeps.misbehaving:Unplugged"
    words = ["preset=laptop", *RUN, task, "arms=[mlp]", f"seeds={SEEDS}", "epochs=4", "--no-canary"]
    first = Process(tmp_path, *words, script="single_task", PLUG=str(plug))
    assert first.end() == ExitCode.ERROR, first.text
    folder = latest(tmp_path, "single_task")
    trials = state_of(folder).trials.values()
    failed = [trial for trial in trials if trial.status == "FAILED"]
    assert MOST_IN_A_ROW <= len(failed) < SEEDS  # the last ones were not even tried
    assert "6 trials that failed one after the other" in first.text
    assert "the licence server does not answer" in first.text
    assert "--retry-failed" in first.text

    plug.touch()
    again = ("--resume", str(folder), "--retry-failed", "--no-canary")
    second = Process(tmp_path, *again, script="single_task", PLUG=str(plug))
    assert second.end() == ExitCode.OK, second.text
    trials = state_of(folder).trials
    assert [trial.status for trial in trials.values()] == ["COMPLETED"] * SEEDS
    assert {trials[trial.trial_id].attempt for trial in failed} == {2}
