"""Memory of this process, in bytes."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import psutil
import torch

# What a CUDA process takes beside torch's allocator: context and kernels.
CONTEXT_BYTES = 640 * 2**20


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


def give_back() -> None:
    """Return what is free to the system: glibc keeps what an earlier run in this process used."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def device_peak_bytes(device: str) -> int:
    """The most that torch ever allocated on the device; 0 on a CPU."""
    return torch.cuda.max_memory_allocated() if device == "cuda" else 0


def device_limit_bytes() -> int:
    """What torch may allocate on this process's GPU (`limit_device`)."""
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return int(total * torch.cuda.get_per_process_memory_fraction())


def device_fraction(device: str, gpus: float, total_bytes: int) -> float | None:
    """The fraction of a GPU of `total_bytes` that torch may allocate for a share of `gpus`.

    None where there is no GPU, or nobody to share it with.
    """
    if device != "cuda" or not 0 < gpus < 1:
        return None
    # On a GPU too small for its trials' contexts, half of the share is still better than nothing.
    return max(gpus / 2, gpus - CONTEXT_BYTES / total_bytes)


def limit_device(device: str, gpus: float) -> None:
    """Hold this process to its share of the GPU: past it torch raises OutOfMemoryError."""
    # A machine without a GPU is named where the run starts.
    if device == "cuda" and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        fraction = device_fraction(device, gpus, total)
        torch.cuda.set_per_process_memory_fraction(1.0 if fraction is None else fraction)
