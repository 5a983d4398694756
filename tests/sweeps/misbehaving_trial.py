"""A trial in a process of its own, outside of Ray: python -m ... KIND FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flowpwm.compose import compose
from flowpwm.config import to_dict
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.trainable import run_job
from sweeps.core.worker.watchdog import Limits
from tests.sweeps.misbehaving import MIB, TRAINED

MEMORY_BYTES = 900 * MIB
HANG_S = 4.0
CONFIG = {
    "num_envs": TRAINED,
    "horizon": 4,
    "wm_batch_size": 16,
    "actor_batch_size": 16,
    "world_model.latent_dim": 32,
    "world_model.units": [32, 32],
    "world_model.encoder_units": [32],
    "policy.units": [32],
    "critic.units": [32],
    "wm_updates": 1,
    "wm_warmup_updates": 5,
    "critic_iterations": 1,
    "critic_minibatches": 1,
    "report_every": 1,
    "evaluation.every": 5,
    "evaluation.episodes": 1,
    "epochs": 1000,
}


def job(task: str, folder: Path, **changes: object) -> Job:
    """The job of a trial `c1-s0` in the run folder `folder`; two underscores stand for a dot."""
    settings = {key.replace("__", "."): value for key, value in changes.items()}
    config = compose("", CONFIG | {"task": task} | settings)
    return Job(
        trial_id="c1-s0",
        folder=str(folder),
        config_json=json.dumps(to_dict(config)),
        arm="mlp",
        stage="confirm",
        sweep="toy",
        trackers={},
        epochs=config.epochs,
        progress="env_steps",
        budget=config.epochs * 32,
        resources={"num_cpus": 1, "num_gpus": 0, "memory_bytes": MEMORY_BYTES},
    )


if __name__ == "__main__":
    patience_s = HANG_S if sys.argv[1] == "Stuck" else 300.0
    task = f"tests.sweeps.misbehaving:{sys.argv[1]}"
    run_job(job(task, Path(sys.argv[2])), Limits(MEMORY_BYTES, hang_s=patience_s))
