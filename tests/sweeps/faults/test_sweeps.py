"""Whole sweeps under faults (F1, F2, F10, F28, F40): real Ray, real training, real signals."""

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from sweeps.core.store.compact import Tables, read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.owner import driver_of
from sweeps.core.store.schema import ExitCode
from tests.sweeps.chaos import Rows, attempts, cut_checkpoint, running_workers
from tests.sweeps.faults.processes import left_over
from tests.sweeps.tiny import RUN, Process, alive, latest, science, state_of

pytestmark = [pytest.mark.fault, pytest.mark.long, pytest.mark.timeout(1800)]

SCRIPT = "single_task"
EPOCHS = 400
CANARY = "canary-51be07"
WORDS = [
    *RUN,
    "preset=laptop",
    "task=point-mass",
    "arms=[mlp,flow]",
    "seeds=3",
    f"epochs={EPOCHS}",
    "--no-canary",
]
TRIALS = 6


def words(**changes: object) -> list[str]:
    """The words of the sweep with some of its settings changed or added."""
    kept = [word for word in WORDS if word.partition("=")[0] not in changes]
    return [*kept, *(f"{key}={value}" for key, value in changes.items())]


WORKER_KILLS, DRIVER_KILLS, SUPERVISED_KILLS = 30, 5, 2
# The mean over the epochs since the last report begins anew in a new process.
MEANS = re.compile("loss/|grad/|train/|imagined|entropy")


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Short, for the names of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="fp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of the sweep where nothing happens."""
    process = Process(tmp_path_factory.mktemp("calm"), *WORDS, script=SCRIPT)
    try:
        assert process.end(1500) == ExitCode.OK, process.text
    finally:
        process.kill()
    return read_tables(latest(process.cwd, SCRIPT))


class Hurt:
    """A sweep whose processes are killed, and what must hold of it afterwards."""

    def __init__(self, cwd: Path, ray_folder: Path, *words: str) -> None:
        self.cwd = cwd
        self._extra = {"RAY_TMPDIR": str(ray_folder), "WANDB_API_KEY": CANARY}
        self.seen: dict[int, psutil.Process] = {}
        self.process = self.start(*words)

    def start(self, *words: str) -> Process:
        """A driver process more."""
        self.process = Process(self.cwd, *words, script=SCRIPT, **self._extra)
        return self.process

    def worker(self, further: dict[str, int], by: int = 1) -> tuple[str, int]:
        """A trial that got further than at its last kill, and its process; '' where none has."""
        for member in psutil.Process(self.process.popen.pid).children(recursive=True):
            self.seen[member.pid] = member
        if not (self.cwd / "results").exists():
            return "", 0
        trials = state_of(self.folder).trials
        for trial, pid in running_workers(self.folder).items():
            if trials[trial].epochs_done >= further.get(trial, 0) + by:
                return trial, pid
        return "", 0

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return latest(self.cwd, SCRIPT)

    def check(self, expected: Tables) -> None:
        """Nothing lost, nothing twice, all equal to the bit, nothing left behind."""
        tables = read_tables(self.folder)
        for kind in ("trials", "evals"):
            assert science(getattr(tables, kind)) == science(getattr(expected, kind))
        assert science(tables.reports, MEANS) == science(expected.reports, MEANS)
        assert Rows(self.folder).found == TRIALS * EPOCHS // 2
        assert left_over(self.folder) == []
        assert alive(list(self.seen.values())) == []
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


def test_thirty_killed_workers_cost_nothing_but_time(
    undisturbed: Tables, ray_folder: Path, tmp_path: Path
) -> None:
    hurt = Hurt(tmp_path, ray_folder, *WORDS)
    further: dict[str, int] = {}
    kills = 0
    try:
        while kills < WORKER_KILLS and hurt.process.popen.poll() is None:
            trial, pid = hurt.worker(further)
            if trial and kills % 3 == 2:
                cut_checkpoint(hurt.folder, trial)  # F19 in a sweep
            if trial:
                further[trial] = state_of(hurt.folder).trials[trial].epochs_done
                psutil.Process(pid).kill()
                kills += 1
            time.sleep(0.2)
        assert hurt.process.end(1500) == ExitCode.OK, hurt.process.text
    finally:
        hurt.process.kill()
    hurt.check(undisturbed)
    assert kills > TRIALS
    assert attempts(hurt.folder) == TRIALS + kills
    causes = [e["message"] for e in read_events(hurt.folder) if e["event"] == "interrupted"]
    assert len(causes) == kills and all("worker process died" in cause for cause in causes)


def test_five_killed_drivers_cost_nothing_but_time(
    undisturbed: Tables, ray_folder: Path, tmp_path: Path
) -> None:
    hurt = Hurt(tmp_path, ray_folder, *WORDS)
    further: dict[str, int] = {}
    generator = np.random.default_rng(7)
    try:
        for _ in range(DRIVER_KILLS):
            hurt.process.wait_for(lambda known=further: hurt.worker(known)[0] != "", 180)
            time.sleep(generator.uniform(0, 2))
            further = {t: r.epochs_done for t, r in state_of(hurt.folder).trials.items()}
            hurt.process.popen.kill()
            hurt.process.popen.wait(10)
            assert alive(list(hurt.seen.values())) == []
            hurt.start("--resume", str(hurt.folder))
        assert hurt.process.end(1500) == ExitCode.OK, hurt.process.text
    finally:
        hurt.process.kill()
    hurt.check(undisturbed)
    assert state_of(hurt.folder).resumes == DRIVER_KILLS


def test_a_supervised_sweep_starts_its_killed_driver_again(
    undisturbed: Tables, ray_folder: Path, tmp_path: Path
) -> None:
    hurt = Hurt(tmp_path, ray_folder, *WORDS, "--supervise")
    further: dict[str, int] = {}
    killed: set[int] = set()
    try:
        for _ in range(SUPERVISED_KILLS):
            hurt.process.wait_for(lambda known=further: hurt.worker(known)[0] != "", 180)
            further = {t: r.epochs_done for t, r in state_of(hurt.folder).trials.items()}
            driver = driver_of(hurt.folder)
            assert driver is not None and driver.pid not in {hurt.process.popen.pid, *killed}
            psutil.Process(driver.pid).kill()
            killed.add(driver.pid)
        assert hurt.process.end(1500) == ExitCode.OK, hurt.process.text
    finally:
        hurt.process.kill()
    hurt.check(undisturbed)
    assert state_of(hurt.folder).resumes == SUPERVISED_KILLS
    assert hurt.process.text.count("killed by SIGKILL; started again") == SUPERVISED_KILLS


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT], ids=str
)
def test_a_signal_saves_everything_and_nothing_is_done_again(
    number: signal.Signals, undisturbed: Tables, ray_folder: Path, tmp_path: Path
) -> None:
    hurt = Hurt(tmp_path, ray_folder, *WORDS)
    try:
        hurt.process.wait_for(lambda: hurt.worker({}, by=50)[0] != "", 180)
        assert hurt.process.send(number) < 20
        assert hurt.process.popen.returncode == ExitCode.INTERRUPTED, hurt.process.text
        assert alive(list(hurt.seen.values())) == []
        hurt.start("--resume", str(hurt.folder))
        assert hurt.process.end(1500) == ExitCode.OK, hurt.process.text
    finally:
        hurt.process.kill()
    hurt.check(undisturbed)
    assert Rows(hurt.folder).repeated == 0


def test_what_rays_monitor_kills_for_memory_leaves_the_others_alone(
    ray_folder: Path, tmp_path: Path
) -> None:
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 2 * 2**30) / memory.total
    leaky = "tests.sweeps.misbehaving:Leaky"
    process = Process(
        tmp_path,
        *words(task=f"[point-mass,{leaky}]", seeds=1, epochs=600),
        "trial.memory=3",
        script=SCRIPT,
        RAY_TMPDIR=str(ray_folder),
        RAY_memory_usage_threshold=f"{threshold:.3f}",
    )
    try:
        assert process.end(1500) == ExitCode.FAILED_TRIALS, process.text
    finally:
        process.kill()
    trials = read_tables(latest(tmp_path, SCRIPT)).trials.to_pylist()
    ends = {(t["task"], t["status"], t["failure_class"]) for t in trials}
    assert ends == {("point-mass", "COMPLETED", None), (leaky, "FAILED", "oom_host")}
    assert {t["epochs_done"] for t in trials if t["task"] == "point-mass"} == {600}
