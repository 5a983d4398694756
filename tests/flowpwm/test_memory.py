"""The peak is this program's own."""

import subprocess
import sys

import numpy as np

from flowpwm.memory import CONTEXT_BYTES, device_fraction, device_peak_bytes

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
KEPT = f"""
from flowpwm.memory import give_back, host_bytes
before = host_bytes()
blocks = [bytearray(b"x" * 65536) for _ in range(3200)]
some = blocks[::100]  # all over the heap, which can then not shrink by itself
del blocks
kept = host_bytes() - before
give_back()
assert kept > 100 * {MB}, kept
print(max(host_bytes() - before, 0))
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


def test_what_an_earlier_run_freed_is_given_back() -> None:
    assert printed(KEPT) < 50 * MB


def test_a_cpu_has_no_device_memory() -> None:
    assert device_peak_bytes("cpu") == 0


def test_a_share_of_a_gpu_is_a_fraction_of_its_memory_less_the_context() -> None:
    total = 16 * CONTEXT_BYTES
    assert device_fraction("cuda", 0.5, total) == 0.5 - 1 / 16
    # Of a tenth of it, half is left where the context would take more.
    assert device_fraction("cuda", 0.1, total) == 0.05
    assert device_fraction("cuda", 1.0, total) is None
    assert device_fraction("cuda", 2.0, total) is None
    assert device_fraction("cuda", 0.0, total) is None
    assert device_fraction("cpu", 0.5, total) is None
