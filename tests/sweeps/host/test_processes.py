"""Waiting for processes by their ids, and ending those that stay."""

import subprocess
import sys
import threading
import time

import psutil

from sweeps.core.host.processes import alive_after, end_processes

SLEEPS = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
)


def started(command: tuple[str, ...]) -> psutil.Process:
    popen = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert popen.stdout is not None and popen.stdout.readline()
    return psutil.Process(popen.pid)


def test_processes_that_end_are_not_waited_for_any_longer() -> None:
    one, other = started(SLEEPS), started(SLEEPS)
    began = time.monotonic()
    one.kill()
    assert alive_after([one, other], 0.3) == [other]
    other.kill()
    assert alive_after([one, other], 30.0) == []
    assert time.monotonic() - began < 10


def test_one_that_does_not_listen_is_killed() -> None:
    process = started(DEAF)
    process.terminate()
    end_processes([process], patience_s=0.2)
    assert alive_after([process], 0.0) == []


def test_an_id_that_a_thread_has_by_now_is_that_of_no_process() -> None:
    gone = started(SLEEPS)
    gone.kill()
    assert alive_after([gone], 10.0) == []
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        # As the system gives ids out again: to processes and threads alike.
        assert thread.native_id is not None
        gone._pid = gone._proc.pid = thread.native_id
        gone._gone = False
        assert alive_after([gone], 0.2) == []
    finally:
        stop.set()
        thread.join()
