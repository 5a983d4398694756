"""The peak is this program's own."""

import subprocess
import sys

import numpy as np

from flowpwm.memory import device_peak_bytes, host_bytes, host_peak_bytes


def test_the_peak_outlives_what_was_freed() -> None:
    before = host_bytes()
    block = np.ones(300 * 2**20, dtype=np.uint8)
    del block
    assert host_peak_bytes() >= before + 290 * 2**20
    assert device_peak_bytes("cpu") == 0


def test_the_peak_of_the_process_that_started_this_one_does_not_count() -> None:
    block = np.ones(700 * 2**20, dtype=np.uint8)
    code = "from flowpwm.memory import host_peak_bytes; print(host_peak_bytes())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < len(block)
