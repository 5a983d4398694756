"""Whole sweeps: the real script, real Ray, real training, in processes of their own."""

import json
import re
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest
from leaks import hits

from flowpwm.compose import from_dict
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.chaos import running_workers
from tests.sweeps.tiny import EPOCHS, SIZES, SWEEP, Process, alive, latest, science, state_of

CANARY = "canary-7f3c9d"

pytestmark = pytest.mark.slow


class Finished:
    """A sweep that ran to its end, and what was seen of it meanwhile."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.code = process.end()
        self.folder = folder_of(process)
        self.tables = read_tables(self.folder)


def folder_of(process: Process) -> Path:
    match = re.search(r"follow +python -m analysis status (\S+)", process.text)
    assert match, process.text
    return process.cwd / match[1]


def running_worker(folder: Path) -> tuple[str, int]:
    """A trial that runs and has a checkpoint, and the process it runs in."""
    return next(iter(running_workers(folder, 10, EPOCHS - 10).items()), ("", 0))


@pytest.fixture(scope="module")
def seen() -> dict[str, object]:
    """What the sweeps were seen doing while they ran."""
    return {}


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, seen: dict[str, object]
) -> Iterator[tuple[Finished, Finished]]:
    """The same sweep started twice at once; one is left alone, the other tracked and hurt."""
    cwd = tmp_path_factory.mktemp("pair")
    # Ray's session folder must be short (socket names) and is searched for secrets.
    ray_folder = Path(tempfile.mkdtemp(prefix="fp"))
    secrets = {"WANDB_API_KEY": CANARY, "MY_TOKEN": CANARY, "RAY_TMPDIR": str(ray_folder)}
    tracked = ["wandb=offline", "tensorboard=true"]
    both = [Process(cwd, *SWEEP, **secrets), Process(cwd, *SWEEP, *tracked, **secrets)]
    try:
        both[0].wait_for(lambda: "start screen" in both[0].text)
        observe(both[0], seen)
        both.append(hurt(both[1], seen, secrets))
        results = Finished(both[0]), Finished(both[2])
        seen["session"] = ray_folder
        yield results
    finally:
        for process in both:
            process.kill()
        shutil.rmtree(ray_folder, ignore_errors=True)


def hurt(process: Process, seen: dict[str, object], extra: dict[str, str]) -> Process:
    """Kill one of its workers, later its driver; the process that goes on with it."""
    process.wait_for(lambda: "done  screen" in process.text)
    folder = folder_of(process)
    process.wait_for(lambda: running_worker(folder)[0] != "")
    resume = ("--resume", str(folder))
    intruder = Process(process.cwd, *resume)
    seen["intruder"] = (intruder.end(), intruder.text, process.popen.pid)

    process.wait_for(lambda: running_worker(folder)[0] != "")
    trial, worker = running_worker(folder)
    attempt = state_of(folder).trials[trial].attempt
    psutil.Process(worker).kill()
    process.wait_for(lambda: state_of(folder).trials[trial].attempt > attempt)
    process.wait_for(lambda: running_worker(folder)[0] != "")
    process.popen.kill()
    process.popen.wait(10)

    changed = Process(process.cwd, *resume, "horizon=8")
    seen["changed"] = (changed.end(), changed.text)
    return Process(process.cwd, *resume, **extra)


def observe(process: Process, seen: dict[str, object]) -> None:
    driver = psutil.Process(process.popen.pid)
    tree = [driver, *driver.children(recursive=True)]
    seen["tree"] = tree
    seen["listening"] = {
        connection.laddr.ip
        for member in tree
        if member.is_running()
        for connection in member.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    match = re.search(r"dashboard +(http://\S+)", process.text)
    assert match, process.text
    seen["dashboard"] = match[1]
    seen["page"] = status_of(match[1])
    seen["jobs"] = status_of(f"{match[1]}/api/jobs/")


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_sweep_ends_with_a_verdict_tables_and_a_report(pair: tuple[Finished, Finished]) -> None:
    for sweep in pair:
        assert sweep.code == ExitCode.OK, sweep.process.text
        for part in ("RESULT on test seeds 1000, 1001", "n=2", "winner", "report.html"):
            assert part in sweep.process.text
        assert (sweep.folder / "report.html").stat().st_size > 10_000
        assert list((sweep.folder / "tables").glob("MANIFEST-*.json"))
        assert json.loads((sweep.folder / "environment.json").read_text())["packages"]["ray"]
        rules = [
            f["rule"] for f in json.loads((sweep.folder / "lint.json").read_text())["findings"]
        ]
        assert "seeds" in rules and "reference" in rules


def test_the_winner_and_the_baseline_are_tested_on_seeds_that_nothing_was_chosen_on(
    pair: tuple[Finished, Finished],
) -> None:
    trials = pair[0].tables.trials.to_pylist()
    by_stage = {
        stage: sorted((t["arm"], t["seed"]) for t in trials if t["stage"] == stage)
        for stage in ("screen", "select", "confirm")
    }
    assert by_stage == {
        "screen": [("flow", 0)] * 3,
        "select": [("flow", 100)] * 2,
        "confirm": [("flow", 1000), ("flow", 1001), ("mlp", 1000), ("mlp", 1001)],
    }
    assert {t["status"] for t in trials} == {"COMPLETED"}
    assert {t["epochs_done"] for t in trials} == {EPOCHS}
    screen = [t for t in trials if t["stage"] == "screen"]
    select = [t for t in trials if t["stage"] == "select"]
    best = sorted(screen, key=lambda t: -t["score"])[:2]
    assert {t["config_id"] for t in select} == {t["config_id"] for t in best}
    (winner,) = {t["config_id"] for t in trials if (t["stage"], t["arm"]) == ("confirm", "flow")}
    assert winner == max(select, key=lambda t: t["score"])["config_id"]


def test_two_starts_at_once_have_a_folder_each(pair: tuple[Finished, Finished]) -> None:
    assert pair[0].folder != pair[1].folder


def test_a_trial_is_the_training_run_of_its_configuration_to_the_bit(
    pair: tuple[Finished, Finished],
) -> None:
    trial = next(t for t in pair[0].tables.trials.to_pylist() if t["stage"] == "select")
    state = TrainState.start(from_dict(json.loads(trial["config_json"])))
    returns = {r.epoch: e.returns.tolist() for r in train(state) for e in r.evaluations}
    state.close()
    rows = [e for e in pair[0].tables.evals.to_pylist() if e["trial_id"] == trial["trial_id"]]
    assert {row["epoch"]: row["returns"] for row in rows} == returns
    assert trial["score"] == state.score


def test_every_report_of_every_trial_is_a_row_once(pair: tuple[Finished, Finished]) -> None:
    for sweep in pair:
        reports = [(r["trial_id"], r["epoch"]) for r in sweep.tables.reports.to_pylist()]
        trials = sweep.tables.trials["trial_id"].to_pylist()
        every = range(2, EPOCHS + 1, 2)
        assert sorted(reports) == sorted((t, epoch) for t in trials for epoch in every)


def test_the_dashboard_answers_on_loopback_only_and_its_api_asks_for_the_token(
    pair: tuple[Finished, Finished], seen: dict[str, object]
) -> None:
    assert str(seen["dashboard"]).startswith("http://127.0.0.1:")
    assert (seen["page"], seen["jobs"]) == (200, 401)
    listening = seen["listening"]
    assert isinstance(listening, set)
    assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_secrets_of_the_environment_are_written_nowhere(
    pair: tuple[Finished, Finished], seen: dict[str, object]
) -> None:
    session = seen["session"]
    assert isinstance(session, Path)
    places = [pair[0].process.cwd, *session.rglob("session_*")]
    kinds = {path.suffix for place in places for path in place.rglob("*") if path.is_file()}
    # Console, logs of the trials and of Ray, events, series, tables, report, trackers.
    assert kinds >= {".txt", ".log", ".out", ".jsonl", ".arrows", ".parquet", ".html", ".wandb"}
    assert list(pair[1].folder.glob("tensorboard/*/events.out.tfevents.*"))
    assert hits(CANARY, places) == []
    token = Path.home() / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0


def test_no_process_is_left(pair: tuple[Finished, Finished], seen: dict[str, object]) -> None:
    tree = seen["tree"]
    assert isinstance(tree, list) and len(tree) > 5
    assert alive(tree) == []


def test_a_running_sweep_has_one_driver_and_a_resume_changes_no_science(
    pair: tuple[Finished, Finished], seen: dict[str, object]
) -> None:
    code, text, driver = cast(tuple[int, str, int], seen["intruder"])
    assert code == ExitCode.OWNED and f"process {driver}" in text
    code, text = cast(tuple[int, str], seen["changed"])
    assert code == ExitCode.USAGE and "cannot change horizon: 4 then, 8 now" in text


@pytest.mark.fault
def test_a_killed_worker_and_a_killed_driver_cost_no_row_and_change_none(
    pair: tuple[Finished, Finished],
) -> None:
    expected, tables = pair[0].tables, pair[1].tables
    for kind in ("trials", "evals"):  # rows lost 0, duplicated 0, all equal to the bit
        assert science(getattr(tables, kind)) == science(getattr(expected, kind))
    # The mean over the epochs since the last report begins anew in a new process.
    means = re.compile("loss/|grad/|train/|imagined|entropy")
    assert science(tables.reports, means) == science(expected.reports, means)
    done: set[str] = set()
    attempts: set[int] = set()
    for event in read_events(pair[1].folder):
        if event["event"] == "completed":
            done.add(event["trial_id"])
        if event["event"] == "started":
            assert event["trial_id"] not in done
            attempts.add(event["attempt"])
    assert max(attempts) > 1


@pytest.mark.fault
@pytest.mark.long
def test_failed_trials_are_rows_and_the_others_go_on(tmp_path: Path) -> None:
    words = [
        *SIZES,
        "epochs=60",
        "integrator=[euler]",
        "substeps=[1,2]",
        "policy.init_log_std=[0.0,100.0]",  # exp(100) is no number in single precision
        "screen.trials=4",
        "select.top=1",
        "confirm.seeds=1",
        "wandb=offline",
    ]
    process = Process(tmp_path, *words, WANDB_API_KEY=CANARY)
    try:
        process.wait_for(lambda: running_worker(latest(process.cwd))[0] != "")
        process.send(signal.SIGUSR1)
        assert process.popen.returncode == ExitCode.INTERRUPTED, process.text
        folder = latest(tmp_path)
        hurt = next(t for t in state_of(folder).trials.values() if t.status == "INTERRUPTED")
        for checkpoint in (folder / "checkpoints" / hurt.trial_id).glob("last*"):
            content = (checkpoint / "training.pt").read_bytes()
            (checkpoint / "training.pt").write_bytes(content[: len(content) // 2])

        resumed = Process(tmp_path, "--resume", str(folder), WANDB_API_KEY=CANARY)
        assert resumed.end() == ExitCode.FAILED_TRIALS, resumed.text
    finally:
        process.kill()
    trials = {t["trial_id"]: t for t in read_tables(folder).trials.to_pylist()}
    failed = {t["trial_id"]: t for t in trials.values() if t["status"] == "FAILED"}
    assert sorted(t["failure_class"] for t in failed.values()) == ["data", "diverged", "diverged"]
    damaged = failed.pop(hurt.trial_id)
    assert "SHA-256 differs" in damaged["failure_message"]
    assert {t["p_policy.init_log_std"] for t in failed.values()} == {100.0}
    for trial in failed.values():
        assert "Traceback" in (folder / trial["log_path"]).read_text()
        assert trial["log_path"] in resumed.text
        assert not re.search(r"\s$|\n", trial["failure_message"])
    assert {t["arm"] for t in trials.values() if t["stage"] == "confirm"} == {"flow", "mlp"}
    offline = list((folder / "wandb").glob("offline-run-*"))
    assert len(offline) >= len(trials)
    assert hits(CANARY, [tmp_path]) == []


@pytest.mark.fault
@pytest.mark.long
def test_a_second_signal_stops_at_once_and_a_group_wide_ctrl_c_is_one_signal(
    tmp_path: Path,
) -> None:
    process = Process(tmp_path, *SWEEP)
    try:
        process.wait_for(lambda: "start screen" in process.text)
        group = psutil.Process(process.popen.pid).children(recursive=True)
        for member in group:  # the terminal sends Ctrl-C to all of them
            if member.is_running():
                member.send_signal(signal.SIGINT)
        process.popen.send_signal(signal.SIGINT)
        began = time.monotonic()
        time.sleep(0.3)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(10) == ExitCode.INTERRUPTED, process.text
        assert time.monotonic() - began < 5
        assert "second signal" in process.text
        assert alive(group) == []
    finally:
        process.kill()
