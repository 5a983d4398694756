"""Synthetic sweeps in the true format: written by the writers that sweeps use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from sweeps.core.store.compact import compact
from sweeps.core.store.events import EventLog
from sweeps.core.store.series import SeriesWriter

STEPS_PER_EPOCH = 2048
PHASE3 = {
    "reacher-easy": {"mlp": (981.20, 983.50, 982.20), "flow": (976.70, 983.40, 981.90)},
    "walker-stand": {"mlp": (972.32, 923.48, 977.35), "flow": (854.53, 744.92, 919.90)},
    "cheetah-run": {"mlp": (93.69, 108.80, 134.97), "flow": (80.97, 94.75, 120.52)},
}


class SweepFolder:
    """A results folder under construction."""

    def __init__(self, path: Path, spec: dict[str, Any] | None = None, *, start: bool = True):
        path.mkdir(parents=True)
        self.path = path
        self.log = EventLog(path, "driver")
        if start:
            self.log.append("sweep_started", spec=spec or {"baseline": "mlp"})

    def trial(
        self,
        arm: str,
        seed: int,
        returns: Sequence[float] | np.ndarray | Mapping[str, Sequence[float]],
        *,
        task: str = "cheetah-run",
        stage: str = "confirm",
        status: str = "completed",
        config_id: str | None = None,
        params: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        epochs: int | None = None,
        every: int = 10,
        seconds_per_epoch: float = 36.0,
        gpus: float = 0.0,
        failure: tuple[str, str] = ("error", "boom"),
        attempt: int = 1,
        memory: Sequence[int] | None = None,
        protocol: str = "k100",
        steps_per_epoch: int = STEPS_PER_EPOCH,
    ) -> str:
        """Plan a trial and run it: `returns` are its evaluations, one every `every` epochs; those
        of each task where `task` names several.

        status: planned, running, completed, stopped, failed, interrupted or cancelled.
        """
        by_task = returns if isinstance(returns, Mapping) else {task: returns}
        returns = np.mean([list(values) for values in by_task.values()], axis=0)
        config_id = config_id or f"c{task[:3]}{arm}"
        trial_id = f"{config_id}-s{seed}"
        total = epochs or max(len(returns), 1) * every
        self.log.append(
            "planned",
            trial_id,
            arm=arm,
            stage=stage,
            config_id=config_id,
            seed=seed,
            task=task,
            config={"task": task, "seed": seed, "epochs": total, "world_model": {"kind": arm}}
            | (config or {}),
            params=params or {},
            resources={"num_cpus": 2.0, "num_gpus": gpus, "memory_bytes": 8_000_000_000},
            parameters=1_234_567,
            nfe=8,
        )
        if status == "planned":
            return trial_id
        self.log.append("started", trial_id, attempt=attempt)
        with SeriesWriter(self.path, trial_id, attempt) as writer:
            for i in range(len(returns)):
                epoch = (i + 1) * every
                at = {"epoch": epoch, "env_steps": epoch * steps_per_epoch}
                seconds = epoch * seconds_per_epoch
                used = memory[i] if memory else 1_000_000_000
                writer.report(
                    {
                        **at,
                        "time/wall_s": seconds,
                        "memory/host_bytes": used,
                        "loss/actor": 1.0 / epoch,
                    }
                )
                for name, values in by_task.items():
                    value = values[i]
                    writer.evaluation(
                        {
                            **at,
                            "wall_time_s": seconds,
                            "task": name,
                            "protocol": protocol,
                            "n": 2,
                            "return_mean": value,
                            "return_median": value,
                            "return_iqm": value,
                            "return_std": 1.0,
                            "length_mean": 500.0,
                            "returns": [value, value],
                        }
                    )
        done = len(returns) * every
        finite = [v for v in returns if np.isfinite(v)]
        measured = {
            "attempt": attempt,
            "epoch": done,
            "env_steps": done * steps_per_epoch,
            "score": float(np.mean(finite[-5:])) if finite else None,
            "wall_time_s": done * seconds_per_epoch,
        }
        if status == "running":
            for i in range(len(returns)):
                epoch = (i + 1) * every
                beat = {
                    "epoch": epoch,
                    "env_steps": epoch * steps_per_epoch,
                    "wall_time_s": epoch * seconds_per_epoch,
                    "host_memory_bytes": memory[i] if memory else 1_000_000_000,
                }
                self.log.append("progress", trial_id, **(measured | beat))
        elif status == "failed":
            kind, message = failure
            log_path = f"logs/{trial_id}-{attempt}.log"
            self.log.append(
                "failed",
                trial_id,
                failure_class=kind,
                message=message,
                log_path=log_path,
                **measured,
            )
        else:
            self.log.append(status, trial_id, host_memory_peak_bytes=1_500_000_000, **measured)
        return trial_id

    def finish(self, exit_code: int = 0) -> Path:
        """End the sweep and compact it."""
        self.log.append("sweep_finished", exit_code=exit_code)
        self.log.close()
        compact(self.path)
        return self.path

    def frames(self, *, finish: bool = True) -> analysis.Frames:
        """The folder as pandas; without `finish` the sweep still runs."""
        return analysis.load(self.finish() if finish else self.path)


Factory = Callable[..., SweepFolder]


@pytest.fixture
def new_sweep(tmp_path: Path) -> Factory:
    """Makes results/<name>/<run> in a temporary folder; keyword arguments are SweepFolder's."""

    def make(name: str = "tuning", run: str = "20260101T000000-abcd", **options: Any):
        return SweepFolder(tmp_path / "results" / name / run, **options)

    return make


class Finished:
    """A copy of a sweep that was written once for all tests."""

    def __init__(self, original: Path, path: Path):
        shutil.copytree(original, path)
        self.path = path

    def finish(self) -> Path:
        """The folder; the sweep has ended already."""
        return self.path

    def frames(self) -> analysis.Frames:
        """The folder as pandas."""
        return analysis.load(self.path)


@pytest.fixture(scope="session")
def phase3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The users' phase 3: three tasks, seeds 42, 123 and 456, a frozen world model shared by both
    arms; every evaluation of a run equals its final return."""
    path = tmp_path_factory.mktemp("phase3") / "run"
    sweep = SweepFolder(path, spec={"baseline": "mlp", "shared_state": "frozen world model"})
    for task, arms in PHASE3.items():
        for arm, finals in arms.items():
            for seed, final in zip((42, 123, 456), finals, strict=True):
                sweep.trial(arm, seed, [final] * 5, task=task)
    return sweep.finish()


@pytest.fixture(scope="session")
def tuned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tuning sweep with early stopping, a collapse, a failure and hostile text."""
    return build_tuned(SweepFolder(tmp_path_factory.mktemp("tuned") / "run")).finish()


@pytest.fixture
def phase3(phase3_folder: Path, tmp_path: Path) -> Finished:
    """`phase3_folder`, to write in."""
    return Finished(phase3_folder, tmp_path / "results" / "phase3" / "20260101T000000-abcd")


@pytest.fixture
def tuned(tuned_folder: Path, tmp_path: Path) -> Finished:
    """`tuned_folder`, to write in."""
    return Finished(tuned_folder, tmp_path / "results" / "tuning" / "20260101T000000-abcd")


def build_tuned(sweep: SweepFolder, *, seeds: int = 10) -> SweepFolder:
    """12 screened configurations, 2 selected, both arms confirmed on `seeds` seeds."""
    rng = np.random.default_rng(1)
    sweep.log.append("stage_started", stage="screen")
    grid = [(i, k, b) for i in ("euler", "heun") for k in (2, 4, 8) for b in (256, 512)]
    for n, (integrator, substeps, batch) in enumerate(grid):
        top = 400 + 40 * substeps + 60 * (integrator == "heun") + rng.normal(0, 40)
        curve = top * (1 - np.exp(-np.arange(1, 21) / 6)) + rng.normal(0, 15, 20)
        stopped = n % 3 == 2
        sweep.trial(
            "flow",
            0,
            curve[:8] if stopped else curve,
            stage="screen",
            status="stopped" if stopped else "completed",
            config_id=f"c{n:08x}",
            epochs=200,
            params={
                "world_model.integrator": integrator,
                "world_model.substeps": substeps,
                "wm_batch_size": batch,
            },
            config={
                "world_model": {"kind": "flow", "integrator": integrator, "substeps": substeps}
            },
            protocol="k10",
        )
    sweep.trial(
        "flow",
        1,
        [10.0],
        stage="screen",
        status="failed",
        config_id="cbad00000",
        params={"world_model.integrator": "rk4", "world_model.substeps": 8, "wm_batch_size": 512},
        epochs=200,
        failure=("oom_host", "Traceback\nMemoryError: <script>alert('x')</script> 7.9 of 8.0 GB"),
        attempt=2,
    )
    sweep.log.append("selected", stage="select", config_ids=["c0000000b"], why="best")
    best = {"world_model": {"kind": "flow", "integrator": "heun", "substeps": 8}}
    for seed in range(1000, 1000 + seeds):
        for arm, top in (("mlp", 700.0), ("flow", 760.0)):
            level = top + rng.normal(0, 25)
            curve = level * (1 - np.exp(-np.arange(1, 21) / 5)) + rng.normal(0, 12, 20)
            if arm == "flow" and seed == 1003:
                curve[12:] *= 0.2
            config_id = "c0000000b" if arm == "flow" else "c111111aa"
            sweep.trial(
                arm,
                seed,
                curve,
                config_id=config_id,
                params={"wm_batch_size": 512},
                config=best if arm == "flow" else {"world_model": {"kind": "mlp"}},
                gpus=0.5,
            )
    (sweep.path / "environment.json").write_text(
        '{"python": "3.11.9", "git": {"commit": "1a2b3c4", "dirty": false}, "cpus": 16}'
    )
    return sweep
