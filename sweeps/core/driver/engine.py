"""Runs the stages of a sweep under Ray Tune."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver import oom_shim
from sweeps.core.driver.callback import EventCallback
from sweeps.core.driver.interrupt import Interrupted, Interrupts
from sweeps.core.driver.scheduler import RungScheduler
from sweeps.core.driver.search import StageSearch
from sweeps.core.host.cgroup import oom_kills
from sweeps.core.host.nodes import LABEL_SHARE, label, most_memory_bytes
from sweeps.core.protocol import ladder
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.retries import Retries
from sweeps.core.protocol.stages import Stages
from sweeps.core.worker.jobs import make_job
from sweeps.core.worker.process import run_trial


class Engine:
    """One Tuner over all stages: the workers of one stage go on with the next.

    `on_gpu` gives every trial a process of its own, so that no CUDA context, cache or fragment of
    the last trial is left in it. On a CPU a worker is taken over: importing torch again would cost
    seconds a trial. While `hold` says so, no trial starts; `give_up` is told where all fail.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        recorder: Recorder,
        interrupts: Interrupts,
        *,
        on_gpu: bool = False,
        hold: Callable[[], bool] = lambda: False,
        give_up: Callable[[str], None] = lambda why: None,
    ) -> None:
        oom_shim.install()
        self._sweep = sweep
        self._folder = folder
        self._recorder = recorder
        self._interrupts = interrupts
        self._on_gpu = on_gpu
        self._hold = hold
        self._give_up = give_up
        self._fault: Exception | None = None

    def run(self, stages: Stages) -> None:
        """Run to the end of the last stage.

        Raises Interrupted if a stop was asked for, or what went wrong in our own code while Tune
        ran (NothingSucceeded among it).
        """
        search = StageSearch(
            stages.plans(),
            self._job,
            self._recorder.queued,
            lambda: self._interrupts.requested,
            self._on_error,
            self._hold,
        )
        retries = Retries(
            self._folder,
            self._recorder,
            stages.again,
            most_memory_bytes,
            oom_kills,
            self._give_up,
        )
        scheduler = RungScheduler(stages.brackets, self._recorder, self._on_error)
        tuner = tune.Tuner(
            tune.with_resources(run_trial, _request),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler,
                num_samples=-1,
                reuse_actors=not self._on_gpu,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{self._recorder.state.resumes}",
                storage_path=str(self._folder / "ray"),
                callbacks=[EventCallback(self._recorder, retries, self._on_error)],
                # A retry of Tune's has the same resources; ours may need others.
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        # It would list every attempt that another one followed as a trial that did not complete.
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
        tuner.fit()
        if self._fault is not None:
            raise self._fault
        if not search.exhausted:
            raise Interrupted

    def _job(self, plan: Plan) -> dict[str, Any]:
        resources = ladder.fitting(plan.resources, most_memory_bytes())
        plan = dataclasses.replace(plan, resources=resources)
        return make_job(plan, self._folder, self._sweep.name, self._sweep.trackers).to_dict()

    def _on_error(self, error: Exception) -> None:
        # Kept for the end; the trials save and stop.
        self._fault = self._fault or error
        self._interrupts.request()


def _request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    needs = config["resources"]
    bundle = {"CPU": needs["num_cpus"], "memory": needs["memory_bytes"]}
    if needs["num_gpus"]:
        bundle["GPU"] = needs["num_gpus"]
    if needs.get("accelerator"):
        bundle[label(needs["accelerator"])] = LABEL_SHARE
    return tune.PlacementGroupFactory([bundle])


def _trial_name(trial: Any) -> str:
    return trial.config["trial_id"]
