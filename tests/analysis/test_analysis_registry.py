"""The registry: every trial of every sweep is a row, and notes are kept beside them."""

from __future__ import annotations

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.__main__ import main
from sweeps.core.store.compact import compact, read_tables
from sweeps.core.store.events import EventLog, event_files, fold, read_events

SPEC = {
    "kind": "tune",
    "name": "flow_tuning",
    "goal": "Does flow beat the MLP?",
    "presets": "48M ant_runs",
    "baseline": "mlp",
    "screen": {"trials": 8, "seed": 0},
    "select": {"top": 2, "seeds": [100]},
    "confirm": {"seeds": [1000, 1001, 1002]},
}
PLAN = {
    "arm": "flow",
    "stage": "confirm",
    "config_id": "c1",
    "task": "ant",
    "seed": 1000,
    "config": {"epochs": 400},
    "params": {"world_model.substeps": 4, "world_model.integrator": "heun"},
    "resources": {"num_cpus": 4, "num_gpus": 1, "memory_bytes": 8},
}
DONE = {"attempt": 1, "epoch": 400, "env_steps": 800, "score": 747.1, "wall_time_s": 90.0}
PLAYED = {
    "attempt": 1,
    "which": "best",
    "protocol": "deterministic/100x/seed7",
    "seed": 7,
    "n": 100,
    "return_mean": 751.04,
    "return_median": 750.0,
    "return_iqm": 752.3,
    "return_std": 3.14,
}


def run_folder(results: Path, sweep: str = "flow_tuning", run: str = "r1") -> Path:
    """An empty run folder."""
    folder = results / sweep / run
    (folder / "events").mkdir(parents=True)
    return folder


def row_of(path: Path) -> dict:
    """The only row of a registry."""
    (row,) = analysis.registry(path).to_dict("records")
    return row


def run(capsys, *args) -> tuple[int, str, str]:
    code = main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_row_says_all_that_was_kept_by_hand(tmp_path):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec=SPEC)
        log.append("planned", "c1-s1000", **PLAN)
        log.append("queued", "c1-s1000")
        log.append("started", "c1-s1000", attempt=1, gpu="NVIDIA H100")
        where = {"wandb_group": "flow_tuning-r1", "wandb_link": "https://wandb.example/r"}
        log.append("completed", "c1-s1000", **DONE, **where)
        log.append("evaluated", "c1-s1000", **PLAYED)
    job = {"SLURM_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3"}
    (folder / "environment.json").write_text(json.dumps({"job": job, "gpus": ["NVIDIA L40S"]}))
    (folder / "checkpoints" / "c1-s1000" / "best").mkdir(parents=True)
    row = row_of(folder)
    expected = {
        "sweep": "flow_tuning",
        "run": "r1",
        "stage": "confirm",
        "goal": "Does flow beat the MLP?",
        "comparison": "flow against mlp",
        "methodology": "tune; screen 8 trials on seed 0; select top 2 on seed 100; "
        "confirm on seeds 1000-1002; presets 48M ant_runs",
        "job_id": "4711",
        "array_index": "3",
        "gpu": "NVIDIA H100",
        "trial_id": "c1-s1000",
        "config_id": "c1",
        "arm": "flow",
        "params": "world_model.substeps=4 world_model.integrator=heun",
        "task": "ant",
        "seed": 1000,
        "status": "EVALUATED",
        "attempts": 1,
        "runtime_s": 90.0,
        "best_checkpoint": "checkpoints/c1-s1000/best",
        "wandb_group": "flow_tuning-r1",
        "wandb_link": "https://wandb.example/r",
        "score": 747.1,
        "epochs_done": 400,
        "epochs": 400,
        "evaluated_mean": 751.04,
        "evaluated_iqm": 752.3,
        "evaluated_std": 3.14,
        "evaluated_n": 100,
        "evaluated_which": "best",
        "outcome": "score 747.1, 400 of 400 epochs; "
        "best played again 751.0 (IQM 752.3, sd 3.14, n=100)",
        "path": str(folder),
    }
    assert {name: row[name] for name in expected} == expected
    times = [row[f"{name}_at"] for name in ("planned", "queued", "started", "ended", "evaluated")]
    assert times == sorted(times) and not any(map(pd.isna, times))
    missing = ("last_checkpoint", "failure_class", "cause", "notes", "sweep_notes", "peak")
    assert all(pd.isna(row[name]) for name in missing)


def test_of_several_tasks_the_outcome_names_each(tmp_path):
    folder = run_folder(tmp_path)
    tasks = [{"task": "reacher-easy", "return_mean": 982.3}, {"task": "ant", "return_mean": None}]
    with EventLog(folder, "driver") as log:
        log.append("planned", "c1-s1000", **PLAN)
        log.append("completed", "c1-s1000", **DONE)
        log.append("evaluated", "c1-s1000", **PLAYED, tasks=tasks)
    assert row_of(folder)["outcome"].endswith("n=100): reacher-easy 982.3, ant –")


def test_what_an_older_sweep_did_not_record_is_missing(tmp_path):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec={"name": "toy", "baseline": "flow"})
        log.append("planned", "c1-s1000", **PLAN)
        log.append("started", "c1-s1000", attempt=1)
    row = row_of(folder)
    names = ("goal", "methodology", "job_id", "array_index", "gpu", "queued_at", "wandb_group")
    assert all(pd.isna(row[name]) for name in names)
    assert (row["status"], row["comparison"]) == ("RUNNING", "flow (baseline)")


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_an_environment_that_cannot_be_read_costs_only_itself(tmp_path, text):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        log.append("planned", "c1-s1000", **PLAN)
    (folder / "environment.json").write_text(text)
    assert pd.isna(row_of(folder)["job_id"])


def test_the_gpu_is_that_of_the_drivers_machine_where_the_worker_did_not_say(tmp_path):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        log.append("planned", "a", **PLAN)
        log.append("planned", "b", **PLAN | {"resources": {"num_cpus": 1, "num_gpus": 0}})
    (folder / "environment.json").write_text('{"gpus": ["NVIDIA L40S", "NVIDIA L40S"]}')
    gpus = analysis.registry(folder).set_index("trial_id")["gpu"]
    assert gpus["a"] == "NVIDIA L40S" and pd.isna(gpus["b"])


def test_a_trial_stands_with_the_job_that_ran_it(tmp_path):
    folder = run_folder(tmp_path)
    (folder / "environment.json").write_text('{"job": {"SLURM_JOB_ID": "1"}}')
    with EventLog(folder, "driver") as log:
        for name in ("first", "second", "neither"):
            log.append("planned", name, **PLAN)
        log.append("started", "first", attempt=1)
        log.append("completed", "first", attempt=1)
        log.append("resumed", job={"SLURM_JOB_ID": "2"})
        log.append("started", "second", attempt=1)
        log.append("resumed", job={})
        log.append("started", "neither", attempt=1)
    jobs = analysis.registry(folder).set_index("trial_id")["job_id"]
    assert (jobs["first"], jobs["second"]) == ("1", "2") and pd.isna(jobs["neither"])


def test_the_life_of_a_trial_is_told_in_its_status(tmp_path):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        for event in ("planned", "queued", "started", "completed", "stopped", "failed"):
            log.append("planned", event, **PLAN)
        for event in ("cancelled", "interrupted", "evaluated"):
            log.append("planned", event, **PLAN)
        for event in ("queued", "started", "completed", "stopped", "cancelled", "interrupted"):
            log.append(event, event, attempt=1)
        message = "Traceback\n\nMemoryError: 128 of 128 GB\n"
        log.append("failed", "failed", attempt=1, failure_class="oom_host", message=message)
        log.append("completed", "evaluated", attempt=1)
        log.append("evaluated", "evaluated", **PLAYED)
    table = analysis.registry(folder).set_index("trial_id")
    assert table["status"].to_dict() == {
        "planned": "PENDING",
        "queued": "QUEUED",
        "started": "RUNNING",
        "completed": "COMPLETED",
        "stopped": "STOPPED",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
        "interrupted": "INTERRUPTED",
        "evaluated": "EVALUATED",
    }
    assert table.loc["failed", "failure_class"] == "oom_host"
    assert table.loc["failed", "cause"] == "MemoryError: 128 of 128 GB"
    assert table.loc["planned", "outcome"] == ""


def test_every_run_of_every_sweep_is_found_once_and_the_newest_stands_first(tmp_path):
    results = tmp_path / "results"
    for number, (sweep, name) in enumerate([("b", "r1"), ("a", "r1"), ("b", "r2")]):
        folder = run_folder(results, sweep, name)
        with EventLog(folder, "driver") as log:
            log.append("sweep_started", spec={"name": sweep})
            for seed in (1, 2):
                log.append("planned", f"t{number}-s{seed}", **PLAN | {"seed": seed})
        if name == "r2":
            compact(folder)
    (results / "b" / "latest").symlink_to("r2")
    everything = ["t2-s2", "t2-s1", "t1-s2", "t1-s1", "t0-s2", "t0-s1"]

    def found(*paths: Path) -> list[str]:
        return analysis.registry(paths)["trial_id"].tolist()

    assert found(results) == everything
    assert found(results / "b") == ["t2-s2", "t2-s1", "t0-s2", "t0-s1"]
    assert found(results / "b" / "latest") == ["t2-s2", "t2-s1"]
    assert found(results / "a", results / "b", results, results / "b" / "latest") == everything
    assert analysis.registry(str(results))["run"].tolist() == ["r2"] * 2 + ["r1"] * 4


@pytest.mark.filterwarnings("ignore:damaged table")
def test_a_run_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    good, bad = run_folder(tmp_path, run="good"), run_folder(tmp_path, run="bad")
    for folder in (good, bad):
        with EventLog(folder, "driver") as log:
            log.append("planned", folder.name, **PLAN)
    compact(bad)
    for path in [*(bad / "events").iterdir(), *(bad / "tables").glob("*.parquet")]:
        path.unlink()
    with pytest.warns(UserWarning, match="no generation is whole"):
        assert analysis.registry(tmp_path)["trial_id"].tolist() == ["good"]


def test_a_sweep_that_kept_only_its_tables_is_still_there_and_can_be_noted_on(tmp_path):
    folder = run_folder(tmp_path)
    with EventLog(folder, "driver") as log:
        log.append("planned", "c1-s1000", **PLAN)
        log.append("started", "c1-s1000", attempt=1)
        log.append("completed", "c1-s1000", **DONE)
    compact(folder)
    for path in event_files(folder):
        path.unlink()
    analysis.note(folder, "kept", "c1-s1000")
    row = row_of(folder)
    assert (row["status"], row["score"], row["sweep"]) == ("COMPLETED", 747.1, "flow_tuning")
    assert pd.isna(row["planned_at"])
    assert row["sweep_notes"].endswith("UTC kept")


@pytest.mark.parametrize(
    ("path", "message"),
    [("nothing", "no such folder"), ("empty", "not the results folder"), ("file", "is a file")],
)
def test_paths_without_a_sweep_are_one_clear_line(tmp_path, capsys, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    code, out, err = run(capsys, "registry", tmp_path / path)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_an_unknown_form_is_refused(tmp_path):
    with pytest.raises(analysis.InputError, match="unknown fmt 'html'"):
        analysis.registry(run_folder(tmp_path), fmt="html")


@pytest.fixture
def noted(tmp_path):
    """A running sweep of one trial, its driver's log still open."""
    folder = run_folder(tmp_path / "results")
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec=SPEC)
        log.append("planned", "c1-s1000", **PLAN)
        log.append("started", "c1-s1000", attempt=1)
        yield folder, log


def test_notes_are_appended_while_the_sweep_runs_and_change_no_state(noted, capsys):
    folder, log = noted
    text = "größer als 漢字 🦒\n\n  | second line\\"
    assert run(capsys, "registry", "note", folder, "c1-s1000", text)[0] == 0
    log.append("progress", "c1-s1000", attempt=1, epoch=7)
    assert run(capsys, "registry", "note", folder, "about all")[0] == 0
    assert run(capsys, "registry", "note", folder, "c1-s1000", "later")[0] == 0
    log.append("completed", "c1-s1000", **DONE)
    state = fold(read_events(folder))
    trial = state.trials["c1-s1000"]
    assert [note.text for note in trial.notes] == [text, "later"]
    assert [note.text for note in state.notes] == ["about all"]
    assert (trial.status, trial.epochs_done) == ("COMPLETED", 400)
    row = row_of(folder)
    first, second = trial.notes
    shown = [note.time[:16].replace("T", " ") for note in (first, second)]
    assert row["notes"] == f"{shown[0]} UTC {text}\n{shown[1]} UTC later"
    assert row["sweep_notes"].endswith(" UTC about all")


def test_notes_of_many_at_once_are_all_kept(noted):
    folder, _ = noted
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: analysis.note(folder, f"note {n}"), range(24)))
    notes = [note.text for note in fold(read_events(folder)).notes]
    assert sorted(notes) == sorted(f"note {n}" for n in range(24))


def test_an_unknown_trial_is_refused_with_the_nearest_and_nothing_is_written(noted, capsys):
    folder, _ = noted
    files = event_files(folder)
    code, out, err = run(capsys, "registry", "note", folder, "c1-s100", "text")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unknown trial 'c1-s100'; did you mean 'c1-s1000'?" in err
    for words, message in [(["c1-s1000"], "needs a text after its id"), ([" \n"], "needs a text")]:
        code, _, err = run(capsys, "registry", "note", folder, *words)
        assert code == 2 and message in err
    assert event_files(folder) == files


def test_a_note_of_bytes_that_are_no_text_can_be_read_again(noted, capsys):
    folder, _ = noted
    analysis.note(folder, os.fsdecode(b"caf\xe9"), "c1-s1000")
    assert row_of(folder)["notes"].endswith("caf\N{REPLACEMENT CHARACTER}")
    assert run(capsys, "registry", folder, "--md")[0] == 0


def test_a_note_makes_no_table_stale(phase3):
    path = phase3.finish()
    generation = compact(path).generation
    analysis.note(path, "a note")
    assert compact(path).generation == generation
    with EventLog(path, "evaluate") as log:  # what changes a trial does
        log.append("evaluated", "cchemlp-s42", **PLAYED)
    assert compact(path).generation == generation + 1
    status = read_tables(path, kinds=("trials",)).trials.select(["trial_id", "status"]).to_pylist()
    assert {"trial_id": "cchemlp-s42", "status": "EVALUATED"} in status


def test_an_evaluated_trial_counts_in_every_table_as_the_completed_one_it_is(phase3):
    path = phase3.finish()
    before = analysis.load(path)
    with EventLog(path, "evaluate") as log:
        for trial_id in before.trials["trial_id"]:
            log.append("evaluated", trial_id, **PLAYED)
    after = analysis.load(path)
    assert set(after.trials["status"]) == {"EVALUATED"}
    same = pd.testing.assert_frame_equal
    same(analysis.compare(after), analysis.compare(before))
    same(analysis.summarize(after), analysis.summarize(before))
    same(analysis.overall(after), analysis.overall(before))
    same(analysis.counts(after), analysis.counts(before))
    same(analysis.curves(after), analysis.curves(before))


def test_the_registry_comes_as_text_csv_json_and_markdown(phase3, capsys, tmp_path):
    path = phase3.finish()
    code, text, _ = run(capsys, "registry", path)
    assert code == 0 and "flow against mlp" in text and len(text.splitlines()) == 19
    code, csv, _ = run(capsys, "registry", path, "--csv")
    assert code == 0 and len(pd.read_csv(io.StringIO(csv))) == 18
    code, text, _ = run(capsys, "registry", path, "--json")
    assert code == 0 and len(json.loads(text)) == 18
    code, out, _ = run(capsys, "registry", path.parent, path, "--md", "-o", tmp_path / "r.md")
    assert code == 0 and out == f"wrote {tmp_path / 'r.md'}\n"
    written = (tmp_path / "r.md").read_text()
    assert written.startswith("## phase3 20260101T000000-abcd\n")
    assert analysis.registry(path, fmt="md") + "\n" == written
    with pytest.raises(SystemExit) as caught:
        main(["registry", str(path), "--md", "--csv"])
    assert caught.value.code == 2


def test_no_text_breaks_out_of_its_cell_of_markdown(noted):
    folder, log = noted
    message = "ValueError: a|b <script> \x1b[2J"
    log.append("failed", "c1-s1000", attempt=1, failure_class="error", message=message)
    analysis.note(folder, "one | two\nthree \\| <b>", "c1-s1000")
    lines = analysis.registry(folder, fmt="md").splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 3  # head, rule, one trial
    assert rows[2].count(" | ") == rows[0].count(" | ")
    assert "a\\|b &lt;script&gt; [2J" in rows[2]
    assert "one \\| two<br>three \\\\\\| &lt;b&gt; |" in rows[2]


def test_an_empty_registry_is_no_error(tmp_path, capsys):
    folder = run_folder(tmp_path)
    assert len(analysis.registry(folder)) == 0
    for form in ([], ["--md"]):
        code, out, _ = run(capsys, "registry", folder, *form)
        assert code == 0 and "o trials yet" in out
