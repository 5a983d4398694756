"""Trials that run out of memory: what they are tried with next, and how it is kept."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from flowpwm.compose import compose
from flowpwm.config import RunConfig, wrong_microbatches
from sweeps.core.definition.compare import Compare
from sweeps.core.pages.console import event_line
from sweeps.core.protocol.ladder import Step, fitting, next_step, step_text
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.requests import NOTHING_KNOWN, Resources, needed
from sweeps.core.protocol.retries import MAX_LOST_NODES, MOST_IN_A_ROW, Retries
from sweeps.core.protocol.stages import CompareStages
from sweeps.core.store.events import EventLog, read_events
from sweeps.core.store.exits import read_exit, write_exit
from tests.sweeps.tiny import RUN, asked

GIB = 2**30
MIB = 2**20
NODE = 16 * GIB
#: One task and two arms; every trial asks for 4 GiB.
SWEEP = asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "seeds=[1000]", "trial.memory=4")


def config(batch: int = 16, **changes: Any) -> RunConfig:
    small = {"wm_batch_size": batch, "actor_batch_size": batch, **changes}
    return compose("", {"task": "point-mass"} | small)


def climb(
    causes: list[str],
    start: RunConfig,
    resources: Resources,
    node_memory_bytes: int = NODE,
) -> list[tuple[str, int, float, float]]:
    """(step, microbatches, GiB, GPUs) after each failure, until the trial has to give up."""
    taken: list[str] = []
    seen = []
    for cause in causes:
        step = next_step(cause, taken, start, resources, node_memory_bytes)
        if step is None:
            return seen
        taken.append(step.name)
        start = dataclasses.replace(start, microbatches=step.microbatches)
        resources = step.resources
        seen.append(
            (step.name, step.microbatches, resources.memory_bytes / GIB, resources.num_gpus)
        )
    return seen


def test_the_ladder_on_a_host_is_parts_then_memory_then_the_whole_node() -> None:
    assert climb(["oom_host"] * 5, config(), Resources(1, 0, 4 * GIB)) == [
        ("microbatches", 2, 4.0, 0),
        ("memory", 2, 6.0, 0),
        ("alone", 2, 16.0, 0),
    ]


def test_the_ladder_on_a_gpu_is_parts_then_a_larger_share_then_the_whole_gpu() -> None:
    on_gpu = config(device="cuda")
    assert climb(["oom_gpu"] * 5, on_gpu, Resources(1, 0.25, 4 * GIB)) == [
        ("microbatches", 2, 4.0, 0.25),
        ("memory", 2, 4.0, 0.375),
        ("alone", 2, 4.0, 1.0),
    ]
    third = next_step("oom_gpu", ["microbatches"], on_gpu, Resources(1, 0.3333, 4 * GIB), NODE)
    assert third is not None and third.resources.num_gpus == 0.4999  # two fit
    # Three quarters and half as much again is more than there is.
    assert climb(["oom_gpu"] * 5, on_gpu, Resources(1, 0.75, 4 * GIB)) == [
        ("microbatches", 2, 4.0, 0.75),
        ("alone", 2, 4.0, 1.0),
    ]


def test_a_trial_that_has_its_gpu_for_itself_only_gets_parts() -> None:
    on_gpu = config(device="cuda", microbatches=2)
    assert climb(["oom_gpu"] * 5, on_gpu, Resources(1, 1.0, 4 * GIB)) == [
        ("microbatches", 4, 4.0, 1.0)
    ]


def test_parts_do_not_help_the_host_of_a_run_on_a_gpu() -> None:
    on_gpu = config(device="cuda")
    assert climb(["oom_host"] * 5, on_gpu, Resources(1, 0.5, 4 * GIB)) == [
        ("memory", 1, 6.0, 0.5),
        ("alone", 1, 16.0, 0.5),
    ]


def test_batches_that_cannot_be_halved_go_on_with_more_memory() -> None:
    # 9 of 16 samples would need 18 parts.
    assert climb(["oom_host"] * 5, config(microbatches=9), Resources(1, 0, 4 * GIB))[0] == (
        "memory",
        9,
        6.0,
        0,
    )


def test_no_step_asks_for_more_than_a_node_has_or_for_the_same_again() -> None:
    full = Resources(1, 0, 12 * GIB)
    # 1.5 x 12 = 18 is cut to 16, which is the whole node: to be alone would be no other attempt.
    assert climb(["oom_host"] * 5, config(microbatches=16), full) == [("memory", 16, 16.0, 0)]
    assert climb(["oom_host"], config(microbatches=16), Resources(1, 0, NODE)) == []
    # Nothing is known of the nodes: only the batches can be worked through in more parts.
    assert climb(["oom_host"] * 5, config(), full, 0) == [("microbatches", 2, 12.0, 0)]


def test_requests_are_whole_steps_so_that_sums_of_them_fit() -> None:
    step = next_step("oom_host", ["microbatches"], config(), Resources(1, 0, 300 * MIB), NODE + 7)
    assert step is not None and step.resources.memory_bytes == 512 * MIB  # 450 rounded up
    last = next_step("oom_host", ["memory"], config(), step.resources, NODE + 7)
    assert last == Step("alone", 1, Resources(1, 0, NODE))


def test_a_step_is_taken_once_and_none_before_it_afterwards() -> None:
    shared = Resources(1, 0.5, 4 * GIB)
    on_gpu = config(device="cuda")
    assert climb(["oom_gpu", "oom_host", "oom_gpu", "oom_host"], on_gpu, shared) == [
        ("microbatches", 2, 4.0, 0.5),
        ("memory", 2, 6.0, 0.5),
        ("alone", 2, 6.0, 1.0),
    ]
    assert next_step("oom_gpu", ["repeat"], on_gpu, shared, NODE) is not None


def test_a_resume_on_a_smaller_node_asks_for_what_that_has() -> None:
    whole = Resources(1, 0, 14 * GIB)
    assert fitting(whole, 13 * GIB + 5) == Resources(1, 0, 13 * GIB)
    assert fitting(whole, 20 * GIB) == whole
    assert fitting(whole, 0) == whole


@pytest.mark.parametrize(
    ("parts", "batches", "wrong"),
    [(16, (16, 16), False), (17, (16, 32), True), (17, (32, 16), True), (3, (16, 16), False)],
)
def test_parts_may_be_unequal_but_not_empty(
    parts: int, batches: tuple[int, int], wrong: bool
) -> None:
    assert bool(wrong_microbatches(parts, *batches)) == wrong


def test_a_request_for_memory_goes_before_the_estimate() -> None:
    plan = make_plan(SWEEP, "mlp", "confirm", {"task": "point-mass"}, 1000)
    assert plan.resources.memory_bytes == 4 * GIB
    estimated = needed(
        plan.config, plan.cost, dataclasses.replace(SWEEP, memory_per_trial=0), NOTHING_KNOWN
    )
    assert estimated.memory_bytes % (256 * MIB) == 0
    assert estimated.memory_bytes >= 1.25 * plan.cost.host_memory_bytes


# What is kept of it: events, and the trial that is handed out again.


class Driver:
    """One driver process' worth of retries over a run folder."""

    def __init__(self, folder: Path, sweep: Compare = SWEEP) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.kills = 0
        self.log = EventLog(folder, "driver")
        self.recorder = Recorder(self.log, read_events(folder))
        self.stages = CompareStages(sweep, self.recorder)
        self.plans = self.stages.plans()
        self.lines: list[str] = []
        self.recorder.listeners.append(
            lambda name, trial, payload: self.lines.append(event_line(name, trial, payload, ""))
        )
        self.given_up: list[str] = []
        self.retries = Retries(
            folder,
            self.recorder,
            self.stages.again,
            lambda: NODE,
            lambda: self.kills,
            self.given_up.append,
        )

    def next(self) -> Plan:
        plan = next(self.plans)
        assert plan is not None
        return plan

    def start(self, plan: Plan, attempt: int = 1) -> None:
        self.recorder.started(plan.trial_id, standing(attempt, 0))

    def record(self, plan: Plan) -> Any:
        return self.recorder.state.trials[plan.trial_id]


def standing(attempt: int, epoch: int) -> dict[str, Any]:
    return {"attempt": attempt, "epoch": epoch, "env_steps": 32 * epoch, "score": 2.0}


def short(attempt: int = 1, cause: str = "oom_host") -> dict[str, Any]:
    failure = {"failure_class": cause, "message": "peak 3.81 of 4.00 GiB"}
    return standing(attempt, 5424) | failure | {"outcome": "failed", "host_memory_bytes": 38}


def test_a_trial_goes_on_as_itself_with_more_until_it_gives_up(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    first = driver.next()
    for attempt in (1, 2, 3):
        driver.start(first, attempt)
        driver.retries.failed(first.trial_id, short(attempt))
        again = driver.next()
        assert (again.trial_id, again.config_id) == (first.trial_id, first.config_id)
        assert driver.record(first).status == "PENDING"
        assert again.resources == Resources(**driver.record(first).resources)
    assert again.config.microbatches == 2
    assert again.resources.memory_bytes == NODE
    driver.start(first, 4)
    driver.retries.failed(first.trial_id, short(4))
    record = driver.record(first)
    assert (record.status, record.failure_class) == ("FAILED", "oom_host")
    assert record.failure_message.endswith("tried before: microbatches, memory, alone")
    assert [(f.attempt, f.step) for f in record.failures] == [
        (1, "microbatches"),
        (2, "memory"),
        (3, "alone"),
        (4, ""),
    ]
    steps = [line for line in driver.lines if "requeued" in line]
    name = f"oom_host {first.trial_id} at epoch 5,424 (peak 3.81 of 4.00 GiB) -> requeued with"
    assert steps == [
        f"{name} microbatches 2 (1/3)",
        f"{name} 6.0 GiB (2/3)",
        f"{name} a node (16.0 GiB) of its own (3/3)",
    ]


def test_a_resume_goes_on_with_what_the_last_step_gave(tmp_path: Path) -> None:
    first = Driver(tmp_path)
    plan = first.next()
    for attempt in (1, 2):
        first.start(plan, attempt)
        first.retries.failed(plan.trial_id, short(attempt))
        plan = first.next()
    first.log.close()

    second = Driver(tmp_path)
    resumed = second.next()
    assert resumed == plan
    assert (resumed.config.microbatches, resumed.resources.memory_bytes) == (2, 6 * GIB)
    second.start(resumed, 3)
    second.retries.failed(resumed.trial_id, short(3))
    assert second.next().resources.memory_bytes == NODE


def test_a_hang_is_tried_once_more_with_the_same(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    driver.start(plan)
    driver.retries.failed(plan.trial_id, short(cause="hang"))
    assert driver.next().resources == plan.resources
    driver.start(plan, 2)
    driver.retries.failed(plan.trial_id, short(2, cause="hang"))
    record = driver.record(plan)
    assert (record.status, record.failure_class) == ("FAILED", "hang")
    assert "requeued once more" in next(line for line in driver.lines if "requeued" in line)


def test_other_failures_are_not_tried_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    driver.start(plan)
    driver.retries.failed(plan.trial_id, short(cause="diverged"))
    assert driver.record(plan).status == "FAILED"
    assert driver.next().trial_id != plan.trial_id


def test_where_every_trial_fails_the_sweep_is_given_up(tmp_path: Path) -> None:
    sweep = asked(*RUN, "task=point-mass", "arms=[mlp,flow]", "seeds=10", "trial.memory=4")
    driver = Driver(tmp_path, sweep)

    def fail() -> None:
        plan = driver.next()
        driver.start(plan)
        driver.retries.failed(plan.trial_id, short(cause="error") | standing(1, 0))

    for _ in range(MOST_IN_A_ROW - 1):
        fail()
    driver.retries.went_on()  # a trial that trains
    for _ in range(MOST_IN_A_ROW - 1):
        fail()
    assert driver.given_up == []
    fail()
    (why,) = driver.given_up
    assert why.startswith(
        "6 trials that failed one after the other, none with an epoch; the last: e"
    )


def test_the_last_words_of_a_worker_say_why_it_died(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    driver.start(plan)
    (tmp_path / "logs").mkdir()
    write_exit(tmp_path, plan.trial_id, 1, short(1))
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert driver.next().config.microbatches == 2
    record = driver.record(plan)
    assert (record.epochs_done, record.host_memory_peak_bytes) == (5424, 38)
    # A later death of another cause is not taken for the same.
    driver.start(plan, 2)
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert driver.record(plan).status == "INTERRUPTED"
    assert driver.next().resources == plan.resources


def test_last_words_are_those_of_the_newest_attempt_of_that_trial(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    assert read_exit(tmp_path, "c1-s1") is None
    for trial, attempt in (("c1-s1", 9), ("c1-s1", 10), ("c1-s10", 11)):
        write_exit(tmp_path, trial, attempt, {"attempt": attempt})
    assert read_exit(tmp_path, "c1-s1") == {"attempt": 10}
    (tmp_path / "logs" / "c1-s1-010.exit.json").write_bytes(b"{")
    assert read_exit(tmp_path, "c1-s1") is None


def test_a_kill_that_the_kernel_counts_as_one_for_memory_is_one(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    driver.start(plan)
    driver.kills = 1
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert driver.next().config.microbatches == 2
    driver.start(plan, 2)
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert driver.record(plan).status == "INTERRUPTED"


def test_a_worker_that_is_killed_near_its_limit_has_died_of_it(tmp_path: Path) -> None:
    """Of a kernel that kills on another machine nothing else is seen."""
    driver = Driver(tmp_path)
    plan = driver.next()
    driver.start(plan)
    driver.recorder.progressed(plan.trial_id, standing(1, 4) | {"host_memory_bytes": 3.7 * GIB})
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    (failure,) = driver.record(plan).failures
    assert (failure.failure_class, failure.step) == ("oom_host", "microbatches")
    assert failure.message == "the worker was killed, and had held 3.70 of 4.00 GiB"
    # What the attempt before held says nothing of the next one.
    driver.start(plan, 2)
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert len(driver.record(plan).failures) == 1
    driver.recorder.progressed(plan.trial_id, standing(2, 8) | {"host_memory_bytes": 3.5 * GIB})
    driver.start(plan, 3)
    driver.retries.died(plan.trial_id, "killed", "the worker process died")
    assert len(driver.record(plan).failures) == 1


def test_what_ray_killed_for_memory_goes_to_the_ladder_and_lost_nodes_do_not_count(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    for attempt in range(1, 11):
        driver.start(plan, attempt)
        driver.retries.died(plan.trial_id, "node", "node n7 was lost")
        assert driver.next().resources == plan.resources
    assert driver.record(plan).failures == []
    paused = [e for e in read_events(tmp_path) if e["event"] == "interrupted"]
    assert [(e["attempt"], e["cause"]) for e in paused] == [(n, "node") for n in range(1, 11)]
    assert paused[0]["message"] == "node n7 was lost; goes on from its last checkpoint"
    driver.start(plan, 11)
    driver.retries.died(plan.trial_id, "oom_host", "the worker was killed for memory")
    assert driver.next().config.microbatches == 2


def test_a_trial_whose_nodes_die_without_an_epoch_in_between_may_be_what_kills_them(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path)
    plan = driver.next()
    for epoch in (0, 40):  # getting on begins the count anew
        for _ in range(MAX_LOST_NODES):
            driver.start(plan)
            driver.recorder.progressed(plan.trial_id, standing(1, epoch))
            driver.retries.died(plan.trial_id, "node", "node n7 was lost")
            assert driver.next().trial_id == plan.trial_id
    driver.start(plan)
    driver.retries.died(plan.trial_id, "node", "node n7 was lost")
    record = driver.record(plan)
    assert (record.status, record.failure_class) == ("FAILED", "killed")


@pytest.mark.parametrize(
    ("step", "cause", "text"),
    [
        ("microbatches", "oom_gpu", "with microbatches 4 (1/3)"),
        ("memory", "oom_host", "with 1.5 GiB (2/3)"),
        ("memory", "oom_gpu", "with 0.375 of a GPU (2/3)"),
        ("alone", "oom_host", "with a node (1.5 GiB) of its own (3/3)"),
        ("alone", "oom_gpu", "with a GPU of its own (3/3)"),
        ("repeat", "hang", "once more"),
    ],
)
def test_every_step_has_its_words(step: str, cause: str, text: str) -> None:
    assert step_text(step, cause, 4, Resources(1, 0.375, 1536 * MIB)) == text
