"""Memory of this process, in bytes."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch


def host_bytes() -> int:
    """Resident now."""
    return psutil.Process().memory_info().rss


def host_peak_bytes() -> int:
    """The most that was ever resident.

    Read from the kernel's high-water mark of this program: `getrusage` would carry over the peak
    of whatever process started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status tells no VmHWM: this needs Linux")


def device_peak_bytes(device: str) -> int:
    """The most that torch ever allocated on the device; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0
