"""What Tune runs in a worker process: one trial, or several seeds of one as a program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ray import tune

from flowpwm.compose import from_dict
from flowpwm.together import Together
from flowpwm.updates import Diverged
from sweeps.core.store.series import next_attempt
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.stop_signal import StopSignal
from sweeps.core.worker.trainable import (
    Attempt,
    limits_of,
    make_room,
    moved,
    require_folder,
    run_job,
)
from sweeps.core.worker.triallog import TrialLog
from sweeps.core.worker.watchdog import Watchdog


def run_trial(config: Mapping[str, Any]) -> dict[str, Any]:
    """Train a job as `trainable.run_job` does, and its fellows with it."""
    job = Job(**config)
    return run_program(job) if job.fellows else run_job(job)


def run_program(job: Job) -> dict[str, Any]:
    """Train several seeds to their ends and return the last result of the first.

    Each has its own attempt, log, rows, trackers and checkpoints; the driver hears of each by its
    name (`of`). A seed that diverges fails, and the others go on. Any other exception is raised:
    whose fault it is cannot be told, and each is tried again by itself.
    """
    stop = StopSignal(job.folder_path / "stop")
    if stop():
        return {"outcome": "interrupted", "attempt": 0}
    require_folder(job.folder_path)
    with ExitStack() as stack:
        attempts = _attempts(job, stop, stack)
        try:
            return _train(job, attempts, stack)
        except Exception as error:
            for attempt in attempts:
                attempt.log.failure(error)
            raise


def _attempts(job: Job, stop: StopSignal, stack: ExitStack) -> list[Attempt]:
    jobs = job.each()
    numbers = [next_attempt(job.folder_path, each.trial_id) for each in jobs]
    stop.replaced_if(
        lambda: any(
            next_attempt(job.folder_path, each.trial_id) > number + 1
            for each, number in zip(jobs, numbers, strict=True)
        )
    )
    attempts = []
    for each, number in zip(jobs, numbers, strict=True):
        log = stack.enter_context(TrialLog(job.folder_path, each.trial_id, number))
        attempts.append(Attempt(each, number, stop, log, limits=limits_of(job), runs=len(jobs)))
    watchdog = _watchdog(job, attempts)
    for attempt in attempts:
        attempt.watchdog = watchdog
    return attempts


def _watchdog(job: Job, attempts: Sequence[Attempt]) -> Watchdog:
    """One over the process, which speaks for every attempt in it."""

    def warn(message: str) -> None:
        for attempt in attempts:
            attempt.log.warning(message)

    def last_words(cause: str, message: str) -> None:
        for attempt in attempts:
            attempt.last_words(cause, message)

    return Watchdog(limits_of(job), warn, last_words, attempts[0].log.stream)


def _train(job: Job, attempts: Sequence[Attempt], stack: ExitStack) -> dict[str, Any]:
    configs = [from_dict(attempt.job.config) for attempt in attempts]
    make_room(configs[0], job)
    watchdog = stack.enter_context(attempts[0].watchdog)
    states = []
    for attempt, config in zip(attempts, configs, strict=True):
        states.append(attempt.restore(config))
        stack.callback(states[-1].close)
    for attempt, state in zip(attempts, states, strict=True):
        stack.enter_context(attempt.recording(state))
    # Epochs first, as for one run; the rest changes as long as any of them does anything.
    watchdog.follow(lambda: tuple(sum(counts) for counts in zip(*map(moved, states), strict=True)))
    together = Together(states)
    for i, report in together.train(attempts[0].should_stop):
        with watchdog.excused():
            attempts[i].take(states[i], report)
        if report.score is not None and not math.isfinite(report.score):
            together.leave(i, Diverged(f"score is {report.score} in epoch {report.epoch}"))
    results = []
    with watchdog.excused():
        for i, (attempt, state) in enumerate(zip(attempts, states, strict=True)):
            if (error := together.diverged.get(i)) is not None:
                attempt.log.failure(error)
                results.append(attempt.failure(error))
            else:
                results.append(attempt.finish(state))
        for attempt, result in zip(attempts[1:], results[1:], strict=True):
            tune.report(result | {"of": attempt.job.trial_id})
    return results[0]
