"""A comparison whose seeds train as one program: the real script, real Ray, a killed worker."""

from __future__ import annotations

import os
import re
import signal
from itertools import islice
from pathlib import Path

import psutil
import pytest

from flowpwm.compose import from_dict
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import RUN, Process, latest, state_of

pytestmark = [pytest.mark.slow, pytest.mark.fault]

WORDS = [*RUN, "preset=laptop", "task=point-mass", "seeds=[42,7,9]", "trial.together=3"]


def workers(driver: int) -> list[psutil.Process]:
    """The processes that train, under this driver."""
    found = psutil.Process(driver).children(recursive=True)
    titles = {p: "".join(p.cmdline()) for p in found}
    return [
        p for p, t in titles.items() if t.startswith("ray::") and not re.search("IDLE|Agent", t)
    ]


@pytest.mark.long
def test_seeds_in_one_process_end_as_each_would_alone_and_survive_its_death(
    tmp_path: Path,
) -> None:
    words = [*WORDS, "arms=[flow]", "epochs=80", "--no-canary"]
    sweep = Process(tmp_path, *words, script="single_task")
    try:
        sweep.wait_for(lambda: latest(tmp_path, "single_task").joinpath("checkpoints").is_dir())
        folder = latest(tmp_path, "single_task")
        sweep.wait_for(lambda: bool(list(folder.glob("checkpoints/*/last/manifest.json"))))
        pid = workers(sweep.popen.pid)[0].pid
        assert len([t for t in state_of(folder).trials.values() if t.status == "RUNNING"]) >= 3
        os.kill(pid, signal.SIGKILL)
        assert sweep.end() == ExitCode.OK, sweep.text
    finally:
        sweep.kill()

    trials = state_of(folder).trials
    assert [trial.status for trial in trials.values()] == ["COMPLETED"] * 3
    killed = [trial for trial in trials.values() if trial.attempt > 1]
    assert killed
    events = read_events(folder)
    started = [e["trial_id"] for e in events if e["event"] == "started"]
    assert set(started) == set(trials)
    first = [e for e in events if e["event"] == "started" and e["attempt"] == 1]
    assert [e["together"] for e in first] == [3] * 3

    tables = read_tables(folder)
    rows = tables.reports.to_pandas()
    evals = tables.evals.to_pandas()
    for trial in trials.values():
        own = rows[rows["trial_id"] == trial.trial_id]
        assert own["epoch"].tolist() == list(range(2, 82, 2))
        # Rounding grows from epoch to epoch: the first evaluations are still alike.
        state = TrainState.start(from_dict(trial.config))
        alone = [r.return_mean for r in islice(train(state), 10) if r.evaluations]
        state.close()
        theirs = evals[evals["trial_id"] == trial.trial_id]["return_mean"].tolist()
        assert len(theirs) == 8
        assert theirs[:2] == pytest.approx(alone, rel=0.02, abs=0.2)


def test_a_seed_that_fails_is_tried_alone_and_does_not_take_the_others_along(
    tmp_path: Path,
) -> None:
    words = [w for w in WORDS if not w.startswith("task=")]
    task = "task=tests.sweeps.misbehaving:Unlucky"
    sweep = Process(
        tmp_path, *words, task, "arms=[mlp]", "epochs=10", "--no-canary", script="single_task"
    )
    try:
        assert sweep.end() == ExitCode.FAILED_TRIALS, sweep.text
    finally:
        sweep.kill()
    trials = {
        t.config["seed"]: t for t in state_of(latest(tmp_path, "single_task")).trials.values()
    }
    assert {seed: trial.status for seed, trial in trials.items()} == {
        42: "COMPLETED",
        7: "FAILED",
        9: "COMPLETED",
    }
    assert "out of luck" in (trials[7].failure_message or "")
    assert "up to 3 seeds of a configuration in one process (confirm): 1 CPU, " in sweep.text
    assert trials[7].together == 1 and trials[7].attempt > 1
