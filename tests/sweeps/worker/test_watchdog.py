"""The watchdog: what it decides, and what becomes of real processes that leak or hang."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowpwm import checkpoint
from flowpwm.storage import verify
from sweeps.core.store.exits import read_exit
from sweeps.core.store.series import read_series
from sweeps.core.worker.watchdog import (
    EXIT_CODE,
    HangWatch,
    Limits,
    MemoryWatch,
    ProcessTree,
    Watchdog,
)
from tests.sweeps.misbehaving import MIB
from tests.sweeps.misbehaving_trial import HANG_S, MEMORY_BYTES
from tests.sweeps.tiny import ROOT, environment


def test_memory_that_grows_is_warned_of_once_stopped_once_and_then_over_the_limit() -> None:
    watch = MemoryWatch(1000)
    samples = [700, 799, 800, 900, 850, 949, 950, 990, 1000, 1001, 900]
    words = [watch.look(used) for used in samples]
    assert words == ["", "", "warn", "", "", "", "stop", "", "", "over", ""]
    assert watch.peak == 1001


def test_memory_that_jumped_past_the_limit_may_reach_the_end_of_its_epoch() -> None:
    watch = MemoryWatch(1000)
    # Asked to stop at 1300; another twentieth of the limit is 1350.
    assert [watch.look(used) for used in (1300, 1300, 1350, 1351)] == ["stop", "", "", "over"]


def test_without_a_limit_memory_is_only_measured() -> None:
    watch = MemoryWatch(0)
    assert [watch.look(used) for used in (10, 10**15, 5)] == ["", "", ""]
    assert watch.peak == 10**15


def looked(watch: HangWatch, times: list[float], epochs: list[int]) -> list[bool]:
    return [watch.look(now, (epoch,)) for now, epoch in zip(times, epochs, strict=True)]


def test_a_run_hangs_after_the_least_time_or_ten_of_its_epochs() -> None:
    quick = HangWatch(300.0, 10.0, most_gap_s=1000.0)
    assert looked(quick, [0, 1, 2, 301, 302], [0, 1, 2, 2, 2]) == [False] * 4 + [True]
    # Epochs of 60 s: 10 of them are 600 s, counted from the last move at 180.
    slow = HangWatch(300.0, 10.0, most_gap_s=1000.0)
    assert looked(slow, [0, 60, 120, 180, 779, 780], [0, 1, 2, 3, 3, 3]) == [False] * 5 + [True]
    assert slow.limit_s == 600.0


def test_several_epochs_between_two_looks_count_as_several() -> None:
    watch = HangWatch(1.0, 10.0, most_gap_s=1000.0)
    looked(watch, [0.0, 10.0], [0, 20])
    assert watch.limit_s == 5.0  # ten epochs of half a second


def test_updates_within_a_long_epoch_are_no_hang() -> None:
    watch = HangWatch(300.0, 10.0, most_gap_s=1000.0)
    assert not any(watch.look(200.0 * i, (0, i)) for i in range(20))


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    watch = HangWatch(300.0, 10.0, most_gap_s=2.0)
    assert looked(watch, [0.0, 1.0, 10_000.0, 10_001.0], [0, 0, 0, 0]) == [False] * 4
    assert watch.waited_s == 4.0  # 1, at most 2, and 1


def test_saving_and_waiting_for_the_driver_are_no_hang() -> None:
    watch = HangWatch(300.0, 10.0, most_gap_s=1000.0)
    looked(watch, [0.0, 200.0], [0, 0])
    watch.excuse(400.0)
    assert looked(watch, [500.0, 699.0, 700.0], [0, 0, 0]) == [False, False, True]


SLOW = """
import sys, time
from sweeps.core.worker.watchdog import Limits, Watchdog
say = lambda cause, message: print(cause, message, flush=True)
with Watchdog(Limits(hang_s=30.0, busy_s=1.0, sample_s=0.1), print, say) as dog:
    if "start" in sys.argv:
        time.sleep(60)
    dog.follow(lambda: (0,))
    for _ in range(4):
        with dog.excused():
            time.sleep(0.4)
    print("went on", flush=True)
    with dog.excused():
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("start", ["hang starting took 1 s"]),
        ("save", ["went on", "hang a save or a report took 1 s"]),
    ],
)
def test_starting_and_saving_have_a_limit_of_their_own(where: str, said: list[str]) -> None:
    command = [sys.executable, "-c", SLOW, where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()) == (EXIT_CODE, said), done.stderr


def test_memory_of_child_processes_counts() -> None:
    code = f"x = bytearray(200 * {MIB}); x[::4096] = x[::4096]; print(); input()"
    before = ProcessTree(0.0).resident_bytes(0.0)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert ProcessTree(0.0).resident_bytes(0.0) - before > 200 * MIB
    finally:
        child.communicate(b"\n", timeout=30)
    assert ProcessTree(0.0).resident_bytes(0.0) - before < 100 * MIB


def test_a_look_costs_less_than_a_thousandth_of_its_period() -> None:
    tree, period = ProcessTree(10.0), 0.5
    began = time.process_time()
    for look in range(100):
        tree.resident_bytes(look * period)
    assert (time.process_time() - began) / 100 < 0.001 * period


def test_a_watchdog_ends_with_its_trial() -> None:
    with Watchdog(Limits(sample_s=0.5), print, lambda cause, message: None) as watchdog:
        thread = watchdog._thread
        assert thread.is_alive()
    assert not thread.is_alive()
    assert watchdog.memory_peak_bytes > 0 and not watchdog.stop_asked


class Ended:
    """A trial in a process of its own, after its end."""

    def __init__(self, kind: str, folder: Path) -> None:
        (folder / "events").mkdir(parents=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "tests.sweeps.misbehaving_trial", kind, str(folder)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120
        )
        self.seconds = time.monotonic() - began
        self.code, self.text = done.returncode, done.stderr
        self.said = read_exit(folder, "c1-s0") or {}
        self.log = (folder / "logs" / "c1-s0-001.log").read_text()
        last = folder / "checkpoints" / "c1-s0" / "last"
        assert checkpoint.exists(last), self.text
        self.saved_epoch = verify(last)["epoch"]
        self.epochs = read_series(folder, "reports")["epoch"].to_pylist()


@pytest.mark.slow
def test_a_trial_that_leaks_is_stopped_with_a_checkpoint_before_its_limit(tmp_path: Path) -> None:
    ended = Ended("Leaky", tmp_path)
    assert ended.said["failure_class"] == "oom_host", ended.text
    assert "OutOfMemory: peak 0.8" in ended.text  # so that its process is not taken over
    assert 0.95 * MEMORY_BYTES <= ended.said["host_memory_bytes"] < MEMORY_BYTES
    # Nothing is lost: the last epoch is saved, and every epoch has its row.
    assert ended.saved_epoch == ended.said["epoch"] > 10
    assert ended.epochs == list(range(1, ended.saved_epoch + 1))
    assert ended.log.count("memory gets short") == 1
    assert ended.log.count("memory saves and stops") == 1


@pytest.mark.slow
@pytest.mark.fault
def test_a_trial_that_leaks_within_an_epoch_is_ended_with_its_cause(tmp_path: Path) -> None:
    ended = Ended("LeakyEpoch", tmp_path)
    assert ended.code == EXIT_CODE, ended.text
    assert ended.said["failure_class"] == "oom_host"
    assert ended.said["message"].endswith("of 0.88 GiB, still growing within an epoch")
    # 50 MiB a second and a look every half a second: it went on for no more than that.
    assert MEMORY_BYTES < ended.said["host_memory_bytes"] < MEMORY_BYTES + 100 * MIB
    assert ended.saved_epoch == 5
    assert ended.epochs == list(range(1, 10))


@pytest.mark.slow
@pytest.mark.fault
def test_a_trial_that_hangs_is_ended_with_its_stacks_in_the_log(tmp_path: Path) -> None:
    ended = Ended("Stuck", tmp_path)
    assert ended.code == EXIT_CODE, ended.text
    assert ended.said["failure_class"] == "hang"
    waited = re.fullmatch(r"nothing moved for (\d+) s", ended.said["message"])
    assert waited is not None and HANG_S <= int(waited[1]) < 3 * HANG_S
    assert "misbehaving.py" in ended.log and "in misbehave" in ended.log
    assert (ended.saved_epoch, ended.said["epoch"]) == (5, 9)
    assert ended.epochs == list(range(1, 10))
