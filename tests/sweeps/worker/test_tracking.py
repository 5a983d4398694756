"""Trackers: what they write, and that a trial never waits for them, whatever their server does."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from leaks import hits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record
from wandb_files import records

from flowpwm.config import flatten
from flowpwm.report import Report
from sweeps.core.check import checked
from sweeps.core.check.sweep import check
from sweeps.core.definition.settings import UsageError
from sweeps.core.pages.parts import tracked
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.requests import HEADROOM, MEMORY_STEP_BYTES, WANDB_BYTES
from sweeps.core.store.series import read_series
from sweeps.core.worker.jobs import make_job
from sweeps.core.worker.tracking.background import Background
from sweeps.core.worker.tracking.tracker import Row
from sweeps.core.worker.tracking.trackers import LONGEST_GOODBYE_S, TRACKERS, Trackers
from sweeps.core.worker.triallog import TrialLog
from tests.sweeps.tiny import ROOT, asked, environment

EPOCHS = 12
KEY = "canary-5e6f7a".ljust(40, "0")
ENV_STEPS = 8 * 4  # of an epoch
#: All that tracking may add to a trial.
MOST_S = 2.0


class Stubborn:
    """A tracker that hangs where it is told to, or fails there."""

    def __init__(self, where: str, error: Exception | None = None) -> None:
        self.place: dict[str, str] = {}
        self.where, self.error = where, error
        self.rows: list[Row] = []
        self.release = threading.Event()

    def at(self, where: str) -> None:
        if where == self.where:
            if self.error is not None:
                raise self.error
            self.release.wait(60)

    def open(self) -> None:
        self.at("open")

    def write(self, row: Row) -> None:
        self.at("write")
        self.rows.append(row)

    def close(self) -> None:
        self.at("close")


@pytest.mark.parametrize("where", ["open", "write", "close"])
def test_a_tracker_that_hangs_holds_nothing_up(where: str) -> None:
    said: list[str] = []
    tracker = Stubborn(where)
    background = Background("stubborn", tracker, said.append, waiting_rows=50)
    began = time.monotonic()
    background.start()
    for step in range(500):
        background.write(Row(step, {"x": 1.0}))
    background.write(None)
    background.join(time.monotonic() + 0.2)
    assert time.monotonic() - began < 1.0
    if where != "close":
        assert re.fullmatch(r"stubborn is behind: 4(49|50) rows dropped", said[0])
    tracker.release.set()


@pytest.mark.parametrize("where", ["open", "write", "close"])
def test_a_tracker_that_fails_costs_one_line(where: str) -> None:
    said: list[str] = []
    background = Background("stubborn", Stubborn(where, ValueError("no")), said.append)
    background.start()
    for step in range(10):
        background.write(Row(step, {}))
    background.write(None)
    background.join(time.monotonic() + 10)
    assert said == ["stubborn gave up: ValueError: no"]


def test_every_tracker_that_a_sweep_can_ask_for_exists() -> None:
    assert asked().trackers == {}
    assert asked("wandb=online", "tensorboard=true").trackers.keys() == TRACKERS.keys()


def test_the_memory_of_wandb_s_processes_is_asked_for() -> None:
    cost = make_plan(asked(), "flow", "confirm", {"task": "point-mass"}, 42).cost
    plan = make_plan(asked("wandb=offline"), "flow", "confirm", {"task": "point-mass"}, 42)
    least = HEADROOM * cost.host_memory_bytes + WANDB_BYTES
    assert least <= plan.resources.memory_bytes < least + MEMORY_STEP_BYTES


def test_tensorboard_that_is_missing_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = checked.importlib.util.find_spec
    monkeypatch.setattr(
        checked.importlib.util,
        "find_spec",
        lambda name: None if name == "tensorboard" else found(name),
    )
    with pytest.raises(UsageError, match=r"pip install -c constraints.txt -e '.\[tensorboard\]'"):
        check(asked("tensorboard=true"))
    check(asked())


def attempts(folder: Path, word: str, reports: list[list[Report]]) -> str:
    """A trial whose attempts give these reports; what its logs say."""
    sweep = asked(word)
    plan = make_plan(sweep, "flow", "confirm", {"task": "point-mass"}, 42)
    job = make_job(plan, folder, sweep.name, sweep.trackers)
    start = 0
    for number, of_attempt in enumerate(reports, 1):
        with (
            TrialLog(folder, job.trial_id, number) as log,
            Trackers(job, plan.config, log, start) as trackers,
        ):
            for report in of_attempt:
                trackers.log(report)
            for each in trackers._all:
                each.write(None)
                each.join(time.monotonic() + 120)
        start = of_attempt[-2].env_steps if len(of_attempt) > 1 else 0
    return "".join(path.read_text() for path in (folder / "logs").glob("*.log"))


def report(epoch: int) -> Report:
    return Report(epoch, epoch * ENV_STEPS, {"loss/actor": float(epoch)}, (), None, False)


#: The second attempt goes on from epoch 2: what came after it is done again.
TWICE = [[report(1), report(2), report(3)], [report(3), report(4)]]


def test_tensorboard_shows_a_resumed_trial_as_one_curve_over_environment_steps(
    tmp_path: Path,
) -> None:
    log = attempts(tmp_path, "tensorboard=true", TWICE)
    assert "WARNING" not in log
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert len(list(folder.iterdir())) == 2
    seen = EventAccumulator(str(folder)).Reload()
    points = [(event.step, event.value) for event in seen.Scalars("loss/actor")]
    assert points == [(epoch * ENV_STEPS, float(epoch)) for epoch in (1, 2, 3, 4)]
    text = tracked(asked("tensorboard=true"), tmp_path, Path("results/x/1"))
    assert text == ["events     tensorboard --logdir results/x/1/tensorboard"]


def history(of_run: list[Record], name: str) -> list[tuple[int, float]]:
    """(step, value) of a metric."""
    rows = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item}
        for r in of_run
        if r.HasField("history")
    ]
    return [(row["_step"], row[name]) for row in rows if name in row]


@pytest.mark.slow
def test_attempts_of_a_trial_are_one_wandb_run_in_the_group_of_their_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "r1"
    log = attempts(folder, "wandb=offline", TWICE)
    assert "WARNING" not in log
    offline = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(offline) == 2
    seen = [records(each) for each in offline]
    plan = make_plan(asked(), "flow", "confirm", {"task": "point-mass"}, 42)
    for each in seen:
        (run,) = (record.run for record in each if record.HasField("run"))
        assert run.run_id == f"single_task-r1-{plan.trial_id}"
        assert (run.run_group, run.job_type) == ("single_task-r1", "confirm-flow")
        assert list(run.tags) == ["single_task", "confirm", "flow", "point-mass"]
        config = {item.key: json.loads(item.value_json) for item in run.config.update}
        config.pop("_wandb", None)
        assert config == json.loads(json.dumps(flatten(plan.config)))
    rows = [history(each, "loss/actor") for each in seen]
    assert rows == [[(r.epoch * ENV_STEPS, float(r.epoch)) for r in part] for part in TWICE]
    (text,) = tracked(asked("wandb=offline"), folder, Path("results/x/r1"))
    assert text.startswith("wandb      2 offline runs are here only; ")
    assert text.endswith("wandb sync results/x/r1/wandb/offline-run-*")


class Trial:
    """A whole trial in a process of its own, after its end."""

    def __init__(self, folder: Path, *words: str, **extra: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "tests.sweeps.worker.tracked_trial"]
        done = subprocess.run(
            [*command, str(folder), str(EPOCHS), *words],
            cwd=ROOT,
            env=environment(**extra),
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        self.said = json.loads(done.stdout.splitlines()[-1])
        self.log = "".join(path.read_text() for path in (folder / "logs").glob("*.log"))

    @property
    def science(self) -> dict[str, Any]:
        """Its rows, without times, rates and memory."""
        free = re.compile("time|rate/|memory")
        tables = {kind: read_series(self.folder, kind) for kind in ("reports", "evals")}
        return {
            kind: table.drop([name for name in table.column_names if free.search(name)]).to_pylist()
            for kind, table in tables.items()
        }


@pytest.fixture(scope="module")
def untracked(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return Trial(tmp_path_factory.mktemp("untracked"))


@pytest.fixture(params=["offline", "refused", "black hole"])
def wandb_words(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, str]]]:
    """Words and environment of a trial, and what is wrong with W&B meanwhile."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "black hole":
            listener.listen(100)  # accepted by the kernel, answered by nobody
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        extra = {} if request.param == "offline" else {"WANDB_BASE_URL": url}
        mode = "offline" if request.param == "offline" else "online"
        yield f"wandb={mode}", {"WANDB_API_KEY": KEY} | extra


def wait_for(condition: Callable[[], Any], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def writers() -> list[int]:
    """Processes that write a run of W&B here."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any("wandb_process.py" in word for word in process.info["cmdline"] or ())
    ]


@pytest.mark.slow
@pytest.mark.fault
def test_wandb_offline_or_out_of_reach_holds_a_trial_up_for_two_seconds_at_most_and_changes_nothing(
    untracked: Trial, wandb_words: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    word, extra = wandb_words
    others = set(writers())
    trial = Trial(tmp_path, word, **extra)
    assert trial.said["result"]["outcome"] == "completed"
    assert trial.science == untracked.science
    assert trial.said["held_up_s"] < MOST_S
    assert trial.log.count("wandb") <= 1
    # It ends by itself, with every row in a file that `wandb sync` can send.
    wait_for(lambda: set(writers()) <= others, 200)
    (offline,) = (tmp_path / "wandb").glob("*run-*/")
    assert offline.name.startswith("offline-run-")
    rows = history(records(offline), "epoch")
    assert rows == [(epoch * ENV_STEPS, epoch) for epoch in range(1, EPOCHS + 1)]
    assert hits(KEY, [tmp_path]) == []


def test_the_goodbye_leaves_room_below_what_tracking_may_take() -> None:
    assert LONGEST_GOODBYE_S <= MOST_S / 2
