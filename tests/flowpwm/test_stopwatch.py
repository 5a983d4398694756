"""Wall and device time of phases."""

import time

import pytest
import torch

from flowpwm.stopwatch import Stopwatch


def test_on_a_cpu_the_wall_is_all_there_is() -> None:
    watch = Stopwatch("cpu")
    for _ in range(2):
        with watch.phase("asleep"):
            time.sleep(0.05)
    with watch.phase("awake"):
        pass
    spent = watch.take()
    assert set(spent) == {"asleep", "awake"}
    assert 0.1 <= spent["asleep"] < 5.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_work_is_timed_where_it_is_done() -> None:
    a = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    watch, began = Stopwatch("cuda"), time.perf_counter()
    with watch.phase("products"):
        for _ in range(20):
            a = a @ a
            a = a / a.norm()
    with watch.phase("nothing"):
        pass
    spent = watch.take()
    wall = time.perf_counter() - began
    assert 0 < spent["products_device"] == spent["products"] <= wall
    assert spent["nothing"] < spent["products"] / 10
