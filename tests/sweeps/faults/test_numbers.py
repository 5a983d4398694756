"""Numbers that break, and a run that collapses (F25, F26); a GPU without memory (F27)."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowpwm import checkpoint
from flowpwm.storage import verify
from sweeps.core.store.compact import read_tables
from sweeps.core.store.exits import read_exit
from tests.sweeps.faults import trouble
from tests.sweeps.faults.processes import EPOCHS, TRIAL, Child, learned, run, train
from tests.sweeps.faults.steps import Nothing

pytestmark = pytest.mark.fault


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (functools.partial(trouble.break_weights, math.nan), "is nan in epoch 3"),
        (functools.partial(trouble.break_weights, math.inf), "in epoch 3"),
        (trouble.break_loss, "loss/world_model is nan in epoch 4"),
    ],
    ids=["nan", "inf", "loss"],
)
def test_a_run_that_diverges_ends_within_an_epoch_and_keeps_its_last_good_checkpoint(
    broken: Callable, told: str, tmp_path: Path
) -> None:
    before = functools.partial(trouble.at_epoch, 3, broken)
    result, _ = Child(train, tmp_path, Nothing(), {}, before).end()
    assert (result["outcome"], result["failure_class"]) == ("failed", "diverged")
    assert told in result["message"]
    assert 2 <= result["epoch"] <= 3
    json.dumps(result, allow_nan=False)
    last = tmp_path / "checkpoints" / TRIAL / "last"
    assert verify(last)["epoch"] == result["epoch"]
    if result["epoch"] == 2:
        _, agent = checkpoint.load_agent(last)
        assert all(torch.isfinite(weight).all() for weight in agent.parameters())
    rows = read_tables(tmp_path).reports.to_pylist()
    assert [row["epoch"] for row in rows] == list(range(1, result["epoch"] + 1))


def test_after_a_collapse_the_best_checkpoint_is_that_of_the_peak(tmp_path: Path) -> None:
    before = functools.partial(trouble.play_curve, (400.0, 1200.0, 30.0, 30.0))
    changes = {"epochs": 8}
    result, _ = Child(train, tmp_path, Nothing(), changes, before).end()
    assert result["outcome"] == "completed"
    folder = tmp_path / "checkpoints" / TRIAL
    assert (verify(folder / "best")["epoch"], verify(folder / "last")["epoch"]) == (4, 8)


def test_a_gpu_without_memory_ends_the_process_with_its_cause_and_the_next_goes_on(
    expected: dict[str, list], tmp_path: Path
) -> None:
    before = functools.partial(trouble.at_epoch, 3, trouble.run_out_of_gpu)
    child = Child(train, tmp_path, Nothing(), {}, before)
    assert child.end() is None and child.code == 1  # used up: not taken over by another trial
    said = read_exit(tmp_path, TRIAL) or {}
    assert (said["failure_class"], said["epoch"]) == ("oom_gpu", 2)
    assert "CUDA out of memory" in said["message"]
    assert run(tmp_path)["epoch"] == EPOCHS
    assert learned(tmp_path) == expected
