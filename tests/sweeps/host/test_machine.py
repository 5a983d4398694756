"""What is kept of the machine and the job that a sweep ran on."""

from pathlib import Path

import pytest

from sweeps.core.driver.resume import open_run
from sweeps.core.host.machine import environment
from sweeps.core.store.events import EventLog, fold, read_events
from tests.sweeps.tiny import PLAN


def test_of_the_environment_only_the_job_and_its_place_in_an_array_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_JWT", "a secret")
    monkeypatch.setenv("WANDB_API_KEY", "a secret")
    kept = environment(["task=point-mass"])
    assert kept["job"] == {"SLURM_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3"}
    assert "a secret" not in repr(kept)


def test_outside_of_a_cluster_there_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert environment([])["job"] == {}


def test_a_sweep_says_what_it_will_plan_and_a_resume_in_which_job_it_is(tmp_path: Path) -> None:
    for number in ("1", "2"):
        with EventLog(tmp_path, "driver") as log:
            open_run(tmp_path, log, PLAN, {"job": {"SLURM_JOB_ID": number}})
    state = fold(read_events(tmp_path))
    assert state.asked == {"screen": 8, "select": 2, "confirm": 6}
    assert state.job == {"SLURM_JOB_ID": "2"}
