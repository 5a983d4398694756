"""Host arrays on their way to the device that a run trains on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def upload(array: np.ndarray, device: torch.device | str) -> Tensor:
    """`array` as a tensor of `device`; on a CPU the same memory.

    A GPU fetches it from page-locked memory while the host goes on; the allocator of that memory
    waits for the copy before it hands a block out again.
    """
    host = torch.from_numpy(array)
    if torch.device(device).type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)
