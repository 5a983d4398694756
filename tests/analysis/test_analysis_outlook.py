"""What comes next in a sweep, whether anybody drives it, and how fast that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.__main__ import main
from analysis.status_page import clock
from flowpwm.report import METRICS
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.events import EventLog
from sweeps.core.store.owner import Claim
from sweeps.core.store.series import SeriesWriter
from tests.sweeps.tiny import PLAN

KILLED = """
import os, sys
from pathlib import Path
from sweeps.core.store.owner import Claim
Claim(Path(sys.argv[1])).take()
os._exit(9)
"""


def last_event(path: Path, trial_id: str) -> datetime:
    """When a trial was last heard of."""
    events = analysis.load(path).events
    return events.loc[events["trial_id"] == trial_id, "time"].max().to_pydatetime()


def row_of(path: Path, now: datetime | None = None) -> dict:
    """The only row of an overview."""
    (row,) = analysis.overview(path, now=now).to_dict("records")
    return row


@pytest.fixture
def driven(new_sweep):
    """Two running trials of 100 epochs, 70 and 50 of them left at 4 s and 10 s an epoch, and one
    that waits; this process is the driver."""
    sweep = new_sweep()
    claim = Claim(sweep.path)
    claim.take()
    sweep.trial("mlp", 1000, [1.0] * 3, status="running", epochs=100, seconds_per_epoch=4.0)
    sweep.trial("flow", 1000, [1.0] * 5, status="running", epochs=100, seconds_per_epoch=10.0)
    sweep.trial("flow", 1001, [], status="planned", epochs=100)
    yield sweep
    claim.release()


def test_the_next_result_is_due_when_the_first_running_trial_ends(driven):
    heard = last_event(driven.path, "cchemlp-s1000")
    row = row_of(driven.path)
    assert row["state"] == "running"
    assert row["next_at"].to_pydatetime() == heard + timedelta(seconds=280)  # 70 epochs of 4 s
    table = analysis.status(driven.path).set_index("trial_id")
    due = last_event(driven.path, "ccheflow-s1000") + timedelta(seconds=500)  # 50 of 10 s
    assert table.loc["ccheflow-s1000", "due_at"].to_pydatetime() == due
    assert pd.isna(table.loc["ccheflow-s1001", "due_at"])


def test_a_trial_that_should_have_ended_is_due_now(driven):
    later = datetime.now(UTC) + timedelta(hours=1)
    assert row_of(driven.path, later)["next_at"].to_pydatetime() == later


def test_the_sweep_ends_when_all_that_is_planned_has_run(driven):
    now = datetime.now(UTC)
    row = row_of(driven.path, now)
    # 280 s, 500 s and 100 epochs of the median speed, 7 s: 1480 s by two at a time.
    assert row["remaining_s"] == pytest.approx(740.0)
    assert row["ends_at"].to_pydatetime() - now == timedelta(seconds=740)


def test_a_driver_at_work_knows_better_when_its_sweep_ends(new_sweep):
    sweep = new_sweep()
    claim = Claim(sweep.path)
    claim.take()
    sweep.trial("mlp", 1000, [1.0] * 3, status="running", epochs=100, seconds_per_epoch=4.0)
    claim.heartbeat(4321.0)
    now = datetime.now(UTC)
    row = row_of(sweep.path, now)
    assert row["remaining_s"] == 4321.0
    assert row["ends_at"].to_pydatetime() - now == timedelta(seconds=4321)
    claim.release()
    assert row_of(sweep.path, now)["remaining_s"] == pytest.approx(280.0)


def test_trials_that_later_stages_will_plan_take_time_too(new_sweep):
    sweep = new_sweep(start=False)
    asked = {"screen": 5, "select": 2, "confirm": 4}
    sweep.log.append("sweep_started", spec={"baseline": "mlp"}, trials=asked)
    for seed in (0, 1, 2, 3):
        sweep.trial("flow", seed, [1.0] * 10, stage="screen", seconds_per_epoch=2.0)
    sweep.log.append("stage_finished", stage="screen")  # the space had four cells only
    sweep.trial("flow", 100, [1.0] * 5, stage="select", status="running", epochs=100)
    table = analysis.counts(sweep.path).set_index("stage")
    # 50 epochs of 36 s. To come: 1 + 4 trials of the median duration, 100 epochs of 2 s.
    assert table.loc["select", "remaining_s"] == pytest.approx(1800.0)
    assert table.loc["all", "remaining_s"] == pytest.approx(1800.0 + 5 * 200.0)
    sweep.log.append("sweep_finished", exit_code=1)
    assert row_of(sweep.path)["ends_at"] is pd.NaT


def test_failures_are_counted_by_class(new_sweep):
    sweep = new_sweep()
    for seed, kind in enumerate(["oom_host", "diverged", "oom_host"]):
        sweep.trial("flow", seed, [1.0], status="failed", failure=(kind, "boom"))
    assert row_of(sweep.path)["failures"] == "oom_host 2, diverged 1"
    assert row_of(sweep.path)["failed"] == 3


def test_a_killed_driver_is_dead_and_nothing_is_due(new_sweep, capsys):
    sweep = new_sweep(spec={"name": "tuning", "baseline": "mlp"})
    sweep.trial("flow", 0, [1.0] * 3, status="running", epochs=100)
    done = subprocess.run([sys.executable, "-c", KILLED, str(sweep.path)], check=False)
    assert done.returncode == 9
    row = row_of(sweep.path)
    assert row["state"] == "dead"
    assert row["next_at"] is pd.NaT and row["ends_at"] is pd.NaT
    assert main(["status", str(sweep.path)]) == 0
    out = capsys.readouterr().out
    assert "is dead" in out and f"tuning.py --resume {sweep.path}" in out and "due" not in out


def test_nobody_at_all_is_no_driver_either(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 0, [1.0], status="running", epochs=100)
    assert row_of(sweep.path)["state"] == "dead"
    (sweep.path / "owner").mkdir()
    (sweep.path / "owner" / "000001.json").write_text("{")
    assert row_of(sweep.path)["state"] == "dead"


def test_a_driver_that_saved_and_left_was_interrupted(driven):
    claim = Claim(driven.path)
    with pytest.raises(RuntimeError, match="is owned by process"):
        claim.take()
    place = driven.path / "owner" / "000001.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"released": True}))
    row = row_of(driven.path)
    assert row["state"] == "interrupted" and "--resume" in row["driver"]


def test_a_driver_on_another_machine_is_in_doubt_after_five_minutes(driven):
    place = driven.path / "owner" / "000001.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"host": "elsewhere"}))
    assert row_of(driven.path)["state"] == "running"
    os.utime(place, (time.time() - 420, time.time() - 420))
    row = row_of(driven.path)
    assert row["state"] == "silent"
    assert row["driver"].endswith("on elsewhere was not heard of for 7 min")


def test_a_finished_sweep_needs_no_driver(tuned):
    row = row_of(tuned.finish())
    assert (row["state"], row["driver"], row["remaining_s"]) == ("finished", "", 0.0)


def test_a_sweep_that_kept_only_its_tables_is_over(tuned):
    path = tuned.finish()
    whole = analysis.counts(path)
    for file in (path / "events").iterdir():
        file.unlink()
    assert row_of(path)["state"] == "finished"
    pd.testing.assert_frame_equal(analysis.counts(path), whole)


def test_a_driver_that_has_planned_nothing_yet_is_at_work(new_sweep, capsys):
    sweep = new_sweep(start=False)
    claim = Claim(sweep.path)
    claim.take()
    assert row_of(sweep.path)["state"] == "running"
    claim.release()
    assert row_of(sweep.path)["state"] == "interrupted"


def test_of_a_results_root_the_status_is_a_line_a_run(new_sweep, capsys):
    for name, run in (("first", "r1"), ("second", "r1"), ("first", "r2")):
        sweep = new_sweep(name, run)
        sweep.trial("flow", 0, [1.0] * 3, status="running", epochs=100)
    root = sweep.path.parents[1]
    assert main(["status", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["first", "r2", "dead"],
        ["second", "r1", "dead"],
        ["first", "r1", "dead"],
    ]
    assert main(["status", str(root), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_the_head_of_a_status_says_what_is_due_and_what_failed(driven, capsys):
    driven.trial("mlp", 1002, [1.0], status="failed", failure=("oom_gpu", "x"))
    row = row_of(driven.path)
    assert main(["status", str(driven.path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tuning/20260101T000000-abcd: running\n")
    assert f"driver  process {os.getpid()} on " in out
    assert f"due     next result {clock(row['next_at'])}, sweep " in out
    assert "\nfailed  oom_gpu 1\n" in out


def test_a_clock_time_has_its_day_unless_that_is_today():
    noon = datetime(2026, 1, 1, 12, 0).astimezone()
    assert clock(noon + timedelta(minutes=5), noon) == "12:05"
    assert clock(noon + timedelta(days=1), noon) == "2026-01-02 12:00"
    assert clock(pd.NaT, noon) == "–"


@pytest.mark.filterwarnings("error")
def test_a_clock_time_may_have_nanoseconds():
    noon = pd.Timestamp("2026-01-01T12:00:59.123456789Z")
    assert clock(noon) == clock(noon.floor("s"))


def test_a_note_is_no_sign_of_life(new_sweep):
    sweep = new_sweep()
    trial_id = sweep.trial("flow", 0, [1.0] * 3, status="running", epochs=100)
    heard = last_event(sweep.path, trial_id)
    time.sleep(0.01)
    analysis.note(sweep.path, "still there?", trial_id)
    remark = analysis.status(sweep.path, now=heard + timedelta(minutes=30)).loc[0, "remark"]
    assert remark == "nothing heard for 30 min"


def write_running(folder: Path, trials: int, heartbeats: int, reports: int) -> None:
    """A sweep in full swing, as driver and workers write it: every trial runs."""
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec=PLAN.to_dict(), trials={"confirm": trials})
        recorder = Recorder(log)
        cell = {"world_model.substeps": 1}
        plans = [make_plan(PLAN, "flow", "confirm", cell, 1000 + n) for n in range(trials)]
        for plan in plans:
            recorder.planned(plan)
            recorder.queued(plan)
            recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
        for beat in range(1, heartbeats + 1):
            told = {"epoch": beat, "env_steps": 2048 * beat, "wall_time_s": 15.0 * beat}
            for plan in plans:
                recorder.progressed(
                    plan.trial_id,
                    told | {"attempt": 1, "score": 1.0, "host_memory_bytes": 10**9 + beat},
                )
    dtypes = {name: metric.dtype for name, metric in METRICS.items()}
    for plan in plans:
        with SeriesWriter(folder, plan.trial_id, 1, dtypes=dtypes) as series:
            for epoch in range(1, reports + 1):
                metrics = dict.fromkeys(METRICS, float(epoch))
                series.report({"epoch": epoch, "env_steps": 2048 * epoch} | metrics)


def test_the_status_of_a_large_running_sweep_is_quick(tmp_path):
    # A tenth of the 1,000 trials that are to take 2 s; CPU time, as the machine may be shared.
    write_running(tmp_path / "run", trials=100, heartbeats=100, reports=200)
    analysis.status(tmp_path / "run")
    took = []
    for _ in range(3):
        began = time.process_time()
        table = analysis.status(tmp_path / "run")
        took.append(time.process_time() - began)
    assert len(table) == 100 and set(table["status"]) == {"RUNNING"}
    assert min(took) <= 3 * 0.2


def test_a_trial_of_a_few_epochs_does_not_tell_how_long_it_takes(new_sweep):
    sweep = new_sweep()
    sweep.trial("mlp", 1000, [1.0], status="running", epochs=120, every=1, seconds_per_epoch=70.0)
    assert analysis.status(sweep.path)["remaining_s"].isna().all()
    sweep.trial("flow", 1000, [1.0] * 12, status="running", epochs=120, every=1)
    left = analysis.status(sweep.path).set_index("arm")["remaining_s"]
    assert left["flow"] == pytest.approx(108 * 36.0)
    assert left["mlp"] == pytest.approx(119 * 36.0)


def test_without_its_driver_the_registry_calls_nothing_running(new_sweep):
    sweep = new_sweep()
    subprocess.run([sys.executable, "-c", KILLED, str(sweep.path)], check=False)
    sweep.trial("mlp", 1000, [1.0] * 3, status="running", epochs=100)
    waiting = sweep.trial("flow", 1000, [], status="planned", epochs=100)
    sweep.log.append("queued", waiting)
    table = analysis.registry(sweep.path).set_index("arm")
    assert table["status"].to_dict() == {"mlp": "INTERRUPTED", "flow": "PENDING"}
    claim = Claim(sweep.path)
    claim.take()
    table = analysis.registry(sweep.path).set_index("arm")
    assert table["status"].to_dict() == {"mlp": "RUNNING", "flow": "QUEUED"}
    claim.release()
