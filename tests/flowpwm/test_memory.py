"""The peak is this program's own."""

import subprocess
import sys

import numpy as np

from flowpwm.memory import device_peak_bytes

MB = 2**20

# In programs of their own: what other tests allocated and freed would blur the readings.
FREED = f"""
import numpy as np
from flowpwm.memory import host_bytes, host_peak_bytes
before = host_bytes()
block = np.ones(300 * {MB}, dtype=np.uint8)
del block
print(host_peak_bytes() - before)
"""
PEAK = "from flowpwm.memory import host_peak_bytes; print(host_peak_bytes())"


def printed(program: str) -> int:
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return int(out.stdout)


def test_the_peak_outlives_what_was_freed() -> None:
    assert 290 * MB <= printed(FREED) <= 400 * MB


def test_the_peak_of_the_process_that_started_this_one_does_not_count() -> None:
    block = np.ones(700 * MB, dtype=np.uint8)
    assert printed(PEAK) < len(block)


def test_a_cpu_has_no_device_memory() -> None:
    assert device_peak_bytes("cpu") == 0
