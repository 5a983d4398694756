"""Wall and device time of a piece of work."""

import time

import pytest
import torch

from flowpwm.stopwatch import stopwatch


def test_on_a_cpu_the_wall_is_all_there_is() -> None:
    with stopwatch("cpu") as spent:
        time.sleep(0.05)
    assert 0.05 <= spent.wall_s < 5.0
    assert spent.device_s == 0.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_work_is_waited_for() -> None:
    a = torch.randn(4096, 4096, device="cuda")
    with stopwatch("cuda") as spent:
        for _ in range(20):
            a = a @ a
            a = a / a.norm()
    assert 0 < spent.device_s <= 1.1 * spent.wall_s
