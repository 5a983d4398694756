"""A sweep in simulated time: the scheduler of real sweeps, over trials that nobody trains.

Stages, sources, rungs, ranking and recorder are those of the driver; only Ray and the workers are
played by a queue of events.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowpwm.config import env_steps_per_epoch
from flowpwm.report import variance_of_mean
from sweeps.core.definition.axes import Cell
from sweeps.core.definition.tune import Tune
from sweeps.core.protocol.grid import cell_key
from sweeps.core.protocol.judge import Judge
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.recorder import Log, Recorder
from sweeps.core.protocol.stages import SourceMaker, TuneStages
from sweeps.core.simulate.simulated import World
from sweeps.core.store.schema import SCORE_WINDOW
from sweeps.core.store.state import TrialRecord

_NO_MORE = object()


class Planner:
    """Plans of a sweep, each composed once: simulations ask for the same ones again and again."""

    def __init__(self, sweep: Tune) -> None:
        self._sweep = sweep
        self._plans: dict[tuple[str, str, str, int], Plan] = {}

    def plan(self, arm: str, stage: str, cell: Cell, seed: int) -> Plan:
        """The plan of a trial. Raises ConfigError."""
        key = (arm, stage, cell_key(cell), seed)
        if key not in self._plans:
            self._plans[key] = make_plan(self._sweep, arm, stage, cell, seed)
        return self._plans[key]


class SimulatedStages(TuneStages):
    """The stages of a sweep, with plans from a planner that several simulations share."""

    def __init__(
        self, sweep: Tune, recorder: Recorder, make_source: SourceMaker, planner: Planner
    ) -> None:
        super().__init__(sweep, recorder, make_source)
        self._planner = planner

    def _compose(self, arm: str, stage: str, cell: Cell, seed: int) -> Plan:
        return self._planner.plan(arm, stage, cell, seed)

    def _once_more(self, record: TrialRecord) -> Plan:
        return self._planner.plan(record.arm, record.stage, record.params, record.seed)

    def _with_fellows(
        self, record: TrialRecord, records: list[TrialRecord], handed_out: Collection[str]
    ) -> Plan:
        return self._once_more(record)  # what a program of several saves is not simulated


class MemoryLog(Log):
    """Keeps events nowhere: what the recorder makes of them is enough for a simulation."""

    def append(self, event: str, trial_id: str | None = None, **payload: Any) -> None:
        """Take an event."""


@dataclass
class _Worker:
    """A trial on its way: its messages to the driver, at hours since its start."""

    plan: Plan
    messages: list[tuple[float, dict[str, Any]]]
    started_at: float
    turn: int  # whose message comes first where two come at once
    said: int = 0

    @property
    def speaks_at(self) -> float:
        return self.started_at + self.messages[self.said][0]


class Cluster:
    """So many workers and a clock, in hours. Outlives the drivers that use it."""

    def __init__(self, world: World, workers: int) -> None:
        self.now = 0.0
        self._world = world
        self._workers = workers
        self._running: dict[str, _Worker] = {}
        self._paused: dict[str, _Worker] = {}
        self._queue: list[tuple[float, int, str]] = []
        self._turns = itertools.count()

    @property
    def free(self) -> bool:
        """Whether another trial can start now."""
        return len(self._running) < self._workers

    @property
    def busy(self) -> bool:
        """Whether any trial runs."""
        return bool(self._running)

    def start(self, plan: Plan) -> bool:
        """Give a trial to a free worker; whether it is new, or goes on from where it was paused."""
        worker = self._paused.pop(plan.trial_id, None)
        new = worker is None
        if worker is None:
            messages = list(_messages(plan, self._world))
            worker = _Worker(plan, messages, self.now, next(self._turns))
        self._running[plan.trial_id] = worker
        self._wait_for(worker)
        return new

    def next(self) -> tuple[Plan, dict[str, Any]]:
        """The message that comes next, and the trial that sends it; the clock moves on to it."""
        self.now, _, trial_id = heapq.heappop(self._queue)
        worker = self._running[trial_id]
        _, message = worker.messages[worker.said]
        worker.said += 1
        if worker.said < len(worker.messages):
            self._wait_for(worker)
        else:
            del self._running[trial_id]
        return worker.plan, message

    def stop(self, plan: Plan) -> None:
        """End a trial before its time."""
        if self._running.pop(plan.trial_id, None) is not None:
            self._queue = [entry for entry in self._queue if entry[2] != plan.trial_id]
            heapq.heapify(self._queue)

    def pause(self) -> None:
        """The driver is gone: its trials stand still until another one starts them."""
        self._paused |= self._running
        self._running.clear()
        self._queue.clear()

    def _wait_for(self, worker: _Worker) -> None:
        heapq.heappush(self._queue, (worker.speaks_at, worker.turn, worker.plan.trial_id))


def _messages(plan: Plan, world: World) -> Iterator[tuple[float, dict[str, Any]]]:
    """What a trial tells its driver, after so many hours; the keys are those of real workers."""
    run = world.run(plan)
    last = int(run.epochs[-1])
    ends_at = last if run.out_of_memory_at is None else run.out_of_memory_at * last
    standing: dict[str, Any] = {}
    for i, epoch in enumerate(map(int, run.epochs)):
        if epoch > ends_at:
            break
        recent = run.returns[max(0, i + 1 - SCORE_WINDOW) : i + 1].tolist()
        hours = run.hours * epoch / last
        standing = _standing(plan, epoch, hours) | {
            "score": float(np.mean(recent)),
            "score_variance": variance_of_mean(recent),
        }
        yield hours, standing | {"kind": "evaluated"}
    if run.out_of_memory_at is None:
        yield run.hours, standing | {"outcome": "completed"}
        return
    hours = run.hours * run.out_of_memory_at
    failure = {"failure_class": "oom_host", "message": "the worker was killed for memory"}
    yield hours, _standing(plan, int(ends_at), hours) | failure | {"outcome": "failed"}


def _standing(plan: Plan, epoch: int, hours: float) -> dict[str, Any]:
    steps = epoch * env_steps_per_epoch(plan.config)
    return {"attempt": 1, "epoch": epoch, "env_steps": steps, "wall_time_s": hours * 3600}


class Simulation:
    """One driver over a cluster: asks the stages for trials and judges what they say."""

    def __init__(self, stages: TuneStages, recorder: Recorder, cluster: Cluster) -> None:
        self._plans = stages.plans()
        self._judge = Judge(stages.brackets, recorder)
        self._recorder = recorder
        self._cluster = cluster

    def run(self, messages: int | None = None) -> bool:
        """Run to the end of the last stage, or until so many messages came; whether it is over.

        Raises NothingSucceeded where a stage leaves nothing to go on with.
        """
        for _ in itertools.count() if messages is None else range(messages):
            self._fill()
            if not self._cluster.busy:
                return True
            self._take(*self._cluster.next())
        return False

    def _fill(self) -> None:
        while self._cluster.free:
            plan = next(self._plans, _NO_MORE)
            if plan is None and not self._cluster.busy:
                raise RuntimeError("a stage waits for trials that do not run")
            if not isinstance(plan, Plan):
                return
            if self._cluster.start(plan):
                started = {"kind": "started", "attempt": 1, "epoch": 0, "env_steps": 0}
                self._recorder.heard(plan.trial_id, started)

    def _take(self, plan: Plan, result: Mapping[str, Any]) -> None:
        # In the order of Tune: the scheduler first, then the callbacks.
        goes_on = self._judge.goes_on(_job(plan), result)
        self._recorder.heard(plan.trial_id, result)
        if not goes_on:
            self._cluster.stop(plan)
            self._recorder.left(plan.trial_id)


def _job(plan: Plan) -> dict[str, Any]:
    """What the judge wants to know of a trial."""
    return {
        "trial_id": plan.trial_id,
        "stage": plan.stage,
        "epochs": plan.config.epochs,
        "progress": plan.progress,
        "budget": plan.budget,
    }
