"""A sweep whose trials ask for too little memory: the real script, real Ray, real training."""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowpwm.compose import from_dict
from flowpwm.config import RunConfig
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.store.compact import Tables, read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import RUN, Process, latest

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.long]

SCRIPT = "single_task"
REQUEST_GIB = 0.8
EPOCHS = 45
# 2 parts of 16 samples can be halved; 3 samples cannot be in 4 parts.
WORDS = [
    # Epochs that are no faster: a trial has to save something before it runs out of memory.
    *(word for word in RUN if not word.startswith(("actor_batch_size", "actor_updates"))),
    "preset=laptop",
    "task=tests.sweeps.misbehaving:LeakyWalk",
    "arms=[mlp,flow]",
    "seeds=[42]",
    "actor_batch_size=[16,3]",
    "microbatches=2",
    f"epochs={EPOCHS}",
    f"trial.memory={REQUEST_GIB}",
]


class Finished:
    """The sweep after its end."""

    def __init__(self, folder: Path, text: str) -> None:
        self.text = text
        self.tables: Tables = read_tables(folder)
        self.trials: list[dict[str, Any]] = self.tables.trials.to_pylist()
        self.events = read_events(folder)

    def of(self, batch: int) -> list[dict[str, Any]]:
        return [t for t in self.trials if t["p_actor_batch_size"] == batch]

    def steps(self, trial: dict[str, Any]) -> list[dict[str, Any]]:
        mine = [e for e in self.events if e["trial_id"] == trial["trial_id"]]
        return [e for e in mine if e["event"] == "requeued"]

    def returns(self, trial: dict[str, Any]) -> dict[int, list[float]]:
        rows = self.tables.evals.to_pylist()
        return {r["epoch"]: r["returns"] for r in rows if r["trial_id"] == trial["trial_id"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    cwd = tmp_path_factory.mktemp("ladder")
    ray_folder = tempfile.mkdtemp(prefix="fp")  # short, for the names of sockets
    process = Process(cwd, *WORDS, script=SCRIPT, RAY_TMPDIR=ray_folder)
    try:
        assert process.end(480) == ExitCode.OK, process.text
        yield Finished(latest(cwd, SCRIPT), process.text)
    finally:
        process.kill()
        shutil.rmtree(ray_folder, ignore_errors=True)


def alone(config: RunConfig) -> dict[int, list[float]]:
    """The evaluations of a run that has all the memory it wants."""
    state = TrainState.start(config)
    returns = {r.epoch: e.returns.tolist() for r in train(state) for e in r.evaluations}
    state.close()
    return returns


def test_trials_that_run_out_of_memory_go_on_with_more_and_finish(finished: Finished) -> None:
    assert len(finished.trials) == 4
    for trial in finished.trials:
        steps = finished.steps(trial)
        assert (trial["status"], trial["epochs_done"]) == ("COMPLETED", EPOCHS)
        assert trial["attempt"] == 1 + len(steps)
        assert {step["cause"] for step in steps} == {"oom_host"}
        names = [step["step"] for step in steps]
        order = ["microbatches", "memory", "alone"][trial["p_actor_batch_size"] == 3 :]
        assert names and names == order[: len(names)]
        # Every attempt went on where the one before it had saved.
        epochs = [step["epoch"] for step in steps]
        assert epochs == sorted(set(epochs)) and epochs[0] > 0 and epochs[-1] < EPOCHS
        assert trial["memory_request_bytes"] == steps[-1]["memory_bytes"] > REQUEST_GIB * 2**30


def test_the_console_says_what_every_trial_is_given(finished: Finished) -> None:
    for trial in finished.trials:
        for step in finished.steps(trial):
            line = f"oom_host {trial['trial_id']} at epoch {step['epoch']:,} (peak "
            assert line in finished.text
    assert "did not complete" not in finished.text  # what Tune says of every attempt that failed
    assert "requeued with microbatches 4 (1/3)" in finished.text
    assert "requeued with 1.2 GiB (2/3)" in finished.text


def test_more_memory_changes_nothing_to_the_bit(finished: Finished) -> None:
    trial = finished.of(3)[0]  # of one arm: training it again takes as long as the sweep did
    config = from_dict(json.loads(trial["config_json"]))
    assert config.microbatches == 2
    assert finished.returns(trial) == alone(config)


def test_smaller_parts_change_nothing_but_rounding(finished: Finished) -> None:
    trial = finished.of(16)[-1]  # of the other arm
    config = from_dict(json.loads(trial["config_json"]))
    assert config.microbatches == 4
    unconstrained = alone(dataclasses.replace(config, microbatches=2))
    for epoch, returns in finished.returns(trial).items():
        assert returns == pytest.approx(unconstrained[epoch], rel=1e-3)
