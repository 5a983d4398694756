"""Signals to a driver: the first saves, the second ends at once, an echo is none."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from sweeps.core.driver.interrupt import ECHO_S
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import environment

DRIVER = """
import time
from sweeps.core.driver.interrupt import Interrupts
interrupts = Interrupts()
interrupts.install()
print("ready", flush=True)
while not interrupts.requested:
    time.sleep(0.01)
print("asked", flush=True)
time.sleep(3)
print("saved", flush=True)
"""


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def ask(driver: subprocess.Popen[str], number: signal.Signals) -> None:
    driver.send_signal(number)
    assert driver.stdout is not None
    assert driver.stdout.readline() == "asked\n"


def test_the_same_signal_again_at_once_is_an_echo(driver: subprocess.Popen[str]) -> None:
    ask(driver, signal.SIGTERM)
    driver.send_signal(signal.SIGTERM)
    out, err = driver.communicate(timeout=20)
    assert (driver.returncode, out, err) == (0, "saved\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_ends_it_at_once(
    driver: subprocess.Popen[str], number: signal.Signals
) -> None:
    ask(driver, signal.SIGTERM)
    if number == signal.SIGTERM:
        time.sleep(ECHO_S + 0.2)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=20)
    assert (driver.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert "second signal" in err
