"""Reading folders: finished, running, empty, damaged, wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import analysis
from sweeps.core.store.schema import EVALS, REPORTS, TRIALS


def test_a_finished_sweep_loads_with_its_parameters_times_and_events(tuned):
    frames = tuned.frames()
    assert frames.finished and frames.spec == {"baseline": "mlp"}
    assert len(frames.trials) == 33
    assert {"p_world_model.integrator", "p_wm_batch_size"} <= set(frames.trials.columns)
    assert isinstance(frames.trials["started_at"].dtype, pd.DatetimeTZDtype)
    assert frames.events["event"].iloc[0] == "sweep_started"
    assert frames.events["payload"].iloc[0] == {"spec": {"baseline": "mlp"}}
    assert frames.name == "tuning/20260101T000000-abcd"


def test_the_latest_link_and_the_sweeps_own_folder_lead_to_the_run(phase3):
    path = phase3.finish()
    os.symlink(path.name, path.parent / "latest")
    for given in (path, path.parent / "latest", path.parent, str(path)):
        assert analysis.load(given).path == path.resolve()


def test_a_running_sweep_loads_with_what_was_flushed(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 0, [1.0, 2.0], status="running", epochs=100)
    frames = sweep.frames(finish=False)
    assert not frames.finished
    assert frames.trials["status"].tolist() == ["RUNNING"]
    assert frames.evals["return_mean"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("start", [True, False])
def test_a_sweep_that_planned_nothing_gives_empty_frames_everywhere(new_sweep, start):
    frames = new_sweep(start=start).frames(finish=False)
    assert set(TRIALS.names) <= set(frames.trials.columns)
    assert set(REPORTS.names) <= set(frames.reports.columns)
    assert set(EVALS.names) <= set(frames.evals.columns)
    assert analysis.compare(frames).empty
    assert analysis.summarize(frames).empty
    assert analysis.curves(frames).empty
    assert analysis.status(frames).empty
    assert analysis.failures(frames).empty
    assert analysis.counts(frames)["trials"].tolist() == [0]
    assert "No result yet" in analysis.report(frames).read_text()
    assert "0 trials" in frames._repr_html_()


def test_a_missing_folder_names_the_sweeps_beside_it(phase3):
    results = phase3.finish().parent.parent
    with pytest.raises(analysis.InputError, match=r"phase4: no such folder; .* holds: phase3"):
        analysis.load(results / "phase4")
    with pytest.raises(analysis.InputError, match=r"r9: no such folder; .* holds: 20260101T0"):
        analysis.load(results / "phase3" / "r9")


def test_a_folder_that_is_no_sweep_says_what_it_holds(phase3, tmp_path):
    results = phase3.finish().parent.parent
    with pytest.raises(analysis.InputError, match="not the results folder of a sweep"):
        analysis.load(tmp_path / "results")
    with pytest.raises(analysis.InputError, match="it holds: 20260101T000000-abcd"):
        analysis.load(results / "phase3")
    file = tmp_path / "x.txt"
    file.write_text("")
    with pytest.raises(analysis.InputError, match="is a file"):
        analysis.load(file)


def test_columns_trials_and_a_query_narrow_what_is_read(tuned):
    path = tuned.finish()
    frames = analysis.load(path, columns=["loss/actor"], where="stage == 'confirm' and seed < 1002")
    assert list(frames.reports.columns) == [*REPORTS.names, "loss/actor"]
    assert set(frames.trials["seed"]) == {1000, 1001}
    assert set(frames.reports["trial_id"]) == set(frames.trials["trial_id"])
    one = analysis.load(path, trials=["c0000000b-s1000"])
    assert one.evals["trial_id"].unique().tolist() == ["c0000000b-s1000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": ["loss/acto"]},
            "unknown report column 'loss/acto'; did you mean 'loss/actor'",
        ),
        ({"trials": ["c0000000b-s1"]}, "unknown trial 'c0000000b-s1'; did you mean"),
        ({"where": "sed == 1"}, "unknown trial column 'sed'; did you mean 'seed'"),
        ({"where": "seed =="}, "cannot read the query 'seed =='"),
        ({"where": "seed + 1"}, "does not say yes or no"),
    ],
)
def test_what_load_cannot_find_is_one_clear_line(tuned, options, message):
    with pytest.raises(analysis.InputError, match=message) as caught:
        analysis.load(tuned.finish(), **options)
    assert "\n" not in str(caught.value)


def test_reading_needs_neither_ray_nor_torch_nor_pyplot():
    code = (
        "import sys, analysis, analysis.__main__; "
        "print([m for m in ('ray', 'torch', 'flowpwm', 'matplotlib.pyplot', 'wandb') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_puts_running_trials_first_with_progress_and_time_left(new_sweep):
    sweep = new_sweep()
    sweep.trial("mlp", 1000, [1.0] * 10, seconds_per_epoch=2.0)
    sweep.trial("flow", 1001, [], status="planned", epochs=100)
    sweep.trial("flow", 1000, [1.0] * 3, status="running", epochs=100, seconds_per_epoch=4.0)
    table = analysis.status(sweep.frames(finish=False))
    first = table.iloc[0]
    assert first["status"] == "RUNNING"
    assert first["progress"] == pytest.approx(0.3)
    assert first["elapsed_s"] == pytest.approx(120.0)
    assert first["remaining_s"] == pytest.approx(280.0)  # 70 epochs of 4 s
    waiting = table[table["status"] == "PENDING"].iloc[0]
    assert waiting["remaining_s"] == pytest.approx(300.0)  # 100 epochs of the median, 3 s
    row = analysis.counts(sweep.path).to_dict("records")[-1]
    assert (row["trials"], row["running"], row["waiting"], row["done"]) == (3, 1, 1, 1)
    assert row["progress"] == pytest.approx(130 / 300)
    assert row["remaining_s"] == pytest.approx(580.0)  # one at a time


def test_status_warns_of_memory_that_will_not_fit(new_sweep):
    sweep = new_sweep()
    grows = [int(1e9 + 200e6 * i) for i in range(20)]  # 20 MB an epoch; asked for 8 GB
    sweep.trial("flow", 0, [1.0] * 20, status="running", epochs=1000, memory=grows)
    sweep.trial("flow", 1, [1.0] * 20, status="running", epochs=1000)
    remarks = analysis.status(sweep.frames(finish=False)).set_index("seed")["remark"]
    # At epoch 200: 4.8 GB; 3.2 GB more at .02 GB an epoch is 160 epochs.
    expected = "memory grows 20.0 MB per epoch: reaches its 8.0 GB at epoch 360 of 1,000"
    assert remarks[0] == expected
    assert remarks[1] == ""


def test_status_says_why_trials_failed_and_which_are_silent(new_sweep):
    sweep = new_sweep()
    failure = ("oom_gpu", "trace\nOutOfMemoryError: 80 GB\n")
    sweep.trial("flow", 0, [1.0], status="failed", failure=failure, attempt=2)
    sweep.trial("flow", 1, [1.0], status="running", epochs=100)
    later = datetime.now(UTC) + timedelta(hours=1)
    table = analysis.status(sweep.path, now=later).set_index("seed")
    assert table.loc[0, "remark"] == "oom_gpu: OutOfMemoryError: 80 GB; attempt 2"
    assert table.loc[1, "remark"] == "nothing heard for 60 min"


def test_a_notebook_shows_the_status_table(tuned):
    html = tuned.frames()._repr_html_()
    assert "33 trials, finished" in html and "<table" in html
    assert "<script>" not in html


def test_summary_averages_whole_runs_only_and_marks_what_is_biased(tuned):
    table = analysis.summarize(tuned.frames())
    assert table["stage"].tolist()[:2] == ["confirm", "confirm"]
    assert table["biased"].tolist() == [False] * 2 + [True] * 13
    flow = table[(table["stage"] == "confirm") & (table["arm"] == "flow")].iloc[0]
    assert (flow["n"], flow["collapsed"], flow["method"]) == (10, 1, "mean, t")
    assert 0 < flow["collapsed_lo"] < 0.1 < flow["collapsed_hi"] < 1
    assert flow["peak"] >= flow["est"]
    assert flow["gpu_hours"] == pytest.approx(200 * 36 / 3600 * 0.5)
    screened = table[table["stage"] == "screen"].set_index("config_id")
    assert screened["stopped"].sum() == 4 and screened["failed"].sum() == 1
    assert screened.loc["c00000002", "n"] == 0 and screened["est"].isna()["c00000002"]
    assert set(screened.loc[screened["n"] == 1, "method"]) == {"n=1: no uncertainty"}
    whole = screened["est"].dropna().to_numpy()
    assert (np.diff(whole) <= 0).all()


def test_summary_refuses_an_unknown_grouping(phase3):
    with pytest.raises(analysis.InputError, match="unknown grouping 'tasks'; did you mean 'task'"):
        analysis.summarize(phase3.frames(), by=("tasks",))


def test_a_failure_cannot_steer_the_terminal(new_sweep):
    sweep = new_sweep()
    failure = ("error", "x\n\x1b[2JValueError: \x07boom")
    sweep.trial("flow", 0, [1.0], status="failed", failure=failure)
    assert analysis.failures(sweep.frames())["last_line"].tolist() == ["[2JValueError: boom"]


def test_failures_show_class_last_line_and_log(tuned):
    row = analysis.failures(tuned.frames()).iloc[0]
    assert row["failure_class"] == "oom_host"
    assert row["last_line"].startswith("MemoryError: <script>")
    assert row["log_path"] == "logs/cbad00000-s1-2.log"
    assert (row["attempt"], row["epochs_done"], row["epochs"]) == (2, 10, 200)
