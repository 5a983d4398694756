"""An attempt that was taken for dead, because its node was cut off, and that comes back."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import EventLog
from sweeps.core.store.series import read_series
from sweeps.core.worker.stop_signal import StopSignal
from tests.sweeps.tiny import ROOT, environment

pytestmark = [pytest.mark.slow, pytest.mark.fault]

TRIAL = "c1-s0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("events", "series", "checkpoints", "logs", "tables"):
        (tmp_path / name).mkdir()
    with EventLog(tmp_path, "driver") as log:
        log.append("planned", TRIAL, arm="mlp", stage="confirm", task="pendulum")
    return tmp_path


class Attempt:
    """A real run of the trial in a process of its own, as on a node of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.sweeps.misbehaving_trial", "Walk", str(folder)],
            cwd=ROOT,
            env=environment(),
        )

    def wait_for_rows(self, attempt: int, rows: int) -> None:
        deadline = time.monotonic() + 120
        while len(epochs(self.folder, attempt)) < rows:
            assert self.popen.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)


def epochs(folder: Path, attempt: int) -> list[int]:
    table = read_series(folder, "reports")
    return [row["epoch"] for row in table.to_pylist() if row["attempt"] == attempt]


@pytest.fixture
def attempts(folder: Path) -> Iterator[list[Attempt]]:
    found: list[Attempt] = []
    yield found
    for attempt in found:
        if attempt.popen.poll() is None:
            attempt.popen.kill()
        attempt.popen.wait(10)


def test_a_stale_attempt_adds_no_row_and_touches_no_checkpoint(
    folder: Path, attempts: list[Attempt]
) -> None:
    stale = Attempt(folder)
    attempts.append(stale)
    stale.wait_for_rows(1, 10)
    stale.popen.send_signal(signal.SIGSTOP)  # its node is cut off
    written = epochs(folder, 1)

    fresh = Attempt(folder)
    attempts.append(fresh)
    fresh.wait_for_rows(2, 3)
    first = min(epochs(folder, 2))
    assert first <= max(written) + 1  # from a checkpoint, or from the start
    (folder / "stop").touch()
    fresh.popen.wait(60)
    (folder / "stop").unlink()
    reached = max(epochs(folder, 2))
    saved = checkpoint_bytes(folder)

    stale.popen.send_signal(signal.SIGCONT)  # and comes back: nobody tells it to stop
    assert stale.popen.wait(60) == 0
    assert checkpoint_bytes(folder) == saved
    late = [epoch for epoch in epochs(folder, 1) if epoch not in written]
    assert len(late) <= 10  # it saw by itself that it was replaced, long before its 1000 epochs
    rows = read_tables(folder, kinds=("reports",)).reports.to_pylist()
    accepted = [(row["epoch"], row["attempt"]) for row in rows]
    assert [epoch for epoch, _ in accepted] == list(range(1, reached + 1))
    assert {attempt for epoch, attempt in accepted if epoch >= first} == {2}
    log = next((folder / "logs").glob(f"{TRIAL}-001*.log")).read_text()
    assert "not saved: another attempt may train now" in log


def checkpoint_bytes(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "checkpoints").rglob("*"))
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def test_a_worker_that_is_replaced_stops_and_stays_stopped(tmp_path: Path) -> None:
    replaced = False
    stop = StopSignal(tmp_path / "stop", interval_s=0.0)
    stop.replaced_if(lambda: replaced)
    assert not stop() and not stop.abandoned
    replaced = True
    assert stop.abandoned and stop()
