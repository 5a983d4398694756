"""A small finished sweep whose tables are known by hand."""

from pathlib import Path

import pytest

from sweeps.core.store.events import EventLog
from sweeps.core.store.series import SeriesWriter


def write_trial(folder: Path, trial_id: str, attempt: int, epochs: range) -> None:
    """Rows of one attempt: 100 environment steps an epoch, return 10 × epoch + attempt."""
    with SeriesWriter(folder, trial_id, attempt) as series:
        for epoch in epochs:
            steps = 100 * epoch
            series.report(
                {
                    "epoch": epoch,
                    "env_steps": steps,
                    "loss/actor": -epoch,
                    "time/wall_s": 0.5 * epoch,
                }
            )
            value = 10.0 * epoch + attempt
            series.evaluation(
                {
                    "epoch": epoch,
                    "env_steps": steps,
                    "task": "point-mass",
                    "n": 2,
                    "return_mean": value,
                    "returns": [value - 1, value + 1],
                }
            )


def write_sweep(folder: Path) -> None:
    """Two trials: c1 in one attempt of 7 epochs; c2 killed after epoch 3, resumed from epoch 2."""
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec={"name": "toy"})
        for config_id, substeps in (("c1", 1), ("c2", 4)):
            log.append(
                "planned",
                f"{config_id}-s0",
                arm="flow",
                stage="screen",
                config_id=config_id,
                seed=0,
                task="point-mass",
                config={"epochs": 7, "world_model": {"substeps": substeps}},
                params={"world_model.substeps": substeps},
                resources={"num_cpus": 1, "num_gpus": 0, "memory_bytes": 1000},
                parameters=12,
                nfe=substeps,
            )
        log.append("started", "c1-s0", attempt=1)
        write_trial(folder, "c1-s0", 1, range(1, 8))
        log.append("completed", "c1-s0", attempt=1, epoch=7, env_steps=700, wall_time_s=3.5)
        log.append("started", "c2-s0", attempt=1)
        write_trial(folder, "c2-s0", 1, range(1, 4))
        log.append("progress", "c2-s0", attempt=1, epoch=3, env_steps=300, wall_time_s=1.5)
        log.append("started", "c2-s0", attempt=2)
        write_trial(folder, "c2-s0", 2, range(3, 6))
        log.append(
            "failed",
            "c2-s0",
            attempt=2,
            epoch=5,
            env_steps=500,
            wall_time_s=2.0,
            host_memory_peak_bytes=900,
            failure_class="oom_host",
            message="used 900 of 800 bytes",
        )
        log.append("sweep_finished", exit_code=3)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    write_sweep(folder)
    return folder
