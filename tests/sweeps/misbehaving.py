"""Trials whose environment leaks or hangs, in a process of their own: python -m ... KIND FOLDER.

Only the training's environment misbehaves, which has 8 copies; the evaluation has one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorWrapper

from flowpwm.compose import compose
from flowpwm.config import to_dict
from sweeps.core.jobs import Job
from sweeps.core.trainable import run_job
from sweeps.core.watchdog import Limits

MIB = 2**20
MEMORY_BYTES = 900 * MIB
HANG_S = 4.0
LEAK_S = 0.02  # for 1 MiB: 50 MiB a second
CONFIG = {
    "num_envs": 8,
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


class Misbehaving(VectorWrapper):
    """Gymnasium's pendulum, until it is told to be worse."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(
            gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")
        )
        self.steps = 0
        self.kept: list[np.ndarray] = []

    def step(self, actions: Any) -> Any:
        self.steps += 1
        if self.num_envs == CONFIG["num_envs"]:
            self.misbehave()
        return self.env.step(actions)

    def leak(self) -> None:
        self.kept.append(np.ones(MIB, dtype=np.uint8))
        time.sleep(LEAK_S)

    def misbehave(self) -> None:
        raise NotImplementedError


class Leaky(Misbehaving):
    """Loses memory at every step; an epoch takes a tenth of a second."""

    def misbehave(self) -> None:
        self.leak()


class LeakyEpoch(Misbehaving):
    """Loses memory within its tenth epoch, which has no end."""

    def misbehave(self) -> None:
        while self.steps == 40:
            self.leak()


class Stuck(Misbehaving):
    """Never comes back in its tenth epoch."""

    def misbehave(self) -> None:
        if self.steps == 40:
            time.sleep(600)


def job(kind: str, folder: Path) -> Job:
    """The job of a trial `c1-s0` in the run folder `folder`."""
    config = compose("", CONFIG | {"task": f"tests.sweeps.misbehaving:{kind}"})
    return Job(
        trial_id="c1-s0",
        folder=str(folder),
        config_json=json.dumps(to_dict(config)),
        arm="mlp",
        stage="confirm",
        sweep="toy",
        wandb="off",
        epochs=config.epochs,
        progress="env_steps",
        budget=config.epochs * 32,
        resources={"num_cpus": 1, "num_gpus": 0, "memory_bytes": MEMORY_BYTES},
    )


if __name__ == "__main__":
    run_job(job(sys.argv[1], Path(sys.argv[2])), Limits(MEMORY_BYTES, hang_s=HANG_S))
