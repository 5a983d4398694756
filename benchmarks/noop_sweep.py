"""A sweep whose trials do nothing, as `benchmarks.scale` runs it: all else is the real platform.

    python benchmarks/noop_sweep.py key=value ... [--dry-run]

A trial tells the driver that it began, writes and reports NOOP_EVALUATIONS evaluations (3 where the
environment does not say) and ends. What it takes is what the platform takes: the check, Ray,
events, rows, tables, the report.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from sweeps.core.driver.main import main
from sweeps.core.host import cluster
from sweeps.core.store.series import SeriesWriter, next_attempt
from sweeps.core.worker.jobs import Job
from sweeps.single_task import SWEEP

EVALUATIONS = int(os.environ.get("NOOP_EVALUATIONS", "3"))


def do_nothing(config: Mapping[str, Any]) -> dict[str, Any]:
    """A trial; its scores are noise."""
    from ray import tune

    job = Job(**config)
    attempt = next_attempt(job.folder_path, job.trial_id)
    scores = np.random.default_rng(abs(hash(job.trial_id))).normal(500.0, 50.0, EVALUATIONS)
    standing: dict[str, Any] = {"attempt": attempt, "epoch": 0, "env_steps": 0, "wall_time_s": 0.0}
    with SeriesWriter(job.folder_path, job.trial_id, attempt) as series:
        tune.report(standing | {"kind": "started"})
        for number, score in enumerate(scores, start=1):
            epoch = job.epochs * number // EVALUATIONS
            where = {"epoch": epoch, "env_steps": 32 * epoch}
            series.report(where | {"loss/actor": float(score)})
            series.evaluation(
                where | {"task": "point-mass", "n": 1, "return_mean": score, "returns": [score]}
            )
            series.flush()
            standing |= where | {"score": float(score), "wall_time_s": float(number)}
            tune.report(standing | {"kind": "evaluated"})
    return standing | {"outcome": "completed"}


if __name__ == "__main__":
    cluster.prepare(None)  # before Ray is imported

    from sweeps.core.driver import engine

    engine.run_trial = do_nothing
    sys.exit(main(dataclasses.replace(SWEEP, name="noop_sweep"), sys.argv[1:]))
