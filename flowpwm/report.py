"""What a training run says of itself: every metric with its unit, type and meaning.

Adding a metric is adding a line here; its Parquet column follows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SCORE_WINDOW = 5  # evaluations; a run's score is the mean over the last of them, never the best one


class Metric(NamedTuple):
    """unit: SI or a count; dtype: the column's numpy type; doc: one line."""

    unit: str
    dtype: str
    doc: str


METRICS: dict[str, Metric] = {
    "loss/world_model": Metric("1", "f4", "weighted sum of the world model's losses"),
    "loss/dynamics": Metric("1", "f4", "the dynamics' part, unweighted"),
    "loss/flow_matching": Metric("1", "f4", "flow matching's part of it (flow models)"),
    "loss/rollout": Metric("1", "f4", "squared error of rolled-out latents (flow models)"),
    "loss/reward": Metric("nat", "f4", "two-hot cross-entropy of the reward head"),
    "loss/continuation": Metric("nat", "f4", "cross-entropy of final states (tasks that have any)"),
    "loss/inverse_dynamics": Metric("1", "f4", "squared error of actions told from latents"),
    "loss/reconstruction": Metric("symlog obs^2", "f4", "squared error of decoded observations"),
    "loss/actor": Metric("1", "f4", "minus the scaled imagined return"),
    "loss/critic": Metric("return^2", "f4", "squared error to TD(lambda) targets"),
    "grad/world_model": Metric("1", "f4", "gradient norm before clipping"),
    "grad/actor": Metric("1", "f4", "gradient norm before clipping"),
    "grad/critic": Metric("1", "f4", "gradient norm before clipping"),
    "lr/world_model": Metric("1", "f4", "learning rate of the world model"),
    "lr/actor": Metric("1", "f4", "learning rate of the actor"),
    "lr/critic": Metric("1", "f4", "learning rate of the critic"),
    "actor/std": Metric("1", "f4", "mean noise scale before tanh"),
    "actor/imagined_return": Metric("return", "f4", "mean H-step return plus terminal value"),
    "actor/entropy": Metric(
        "nat",
        "f4",
        "of an imagined action (flow policy: of its noise)",
    ),
    "actor/return_scale": Metric("return", "f4", "running std that the actor's loss is divided by"),
    "train/episode_return": Metric("return", "f4", "mean of episodes finished since last report"),
    "train/episode_length": Metric(
        "env steps", "f4", "mean of episodes finished since last report"
    ),
    "model/latent_error_1": Metric("1", "f4", "one-step latent error / error of standing still"),
    "model/latent_error_h": Metric("1", "f4", "H-step latent error / error of standing still"),
    "model/latent_movement": Metric("1", "f4", "rms step of encoded latents / their spread"),
    "model/latent_spread": Metric("1", "f4", "std of encoded latents over the batch"),
    "model/reward_error": Metric("reward", "f4", "mean absolute error of decoded rewards"),
    "model/reward_error_h": Metric("reward", "f4", "the same at the end of a rollout of H steps"),
    "model/reward_correlation": Metric("1", "f4", "correlation of decoded and true rewards"),
    "buffer/transitions": Metric("transitions", "i8", "held in the replay buffer"),
    "time/wall_s": Metric("s", "f8", "wall time of training so far, over all attempts"),
    "time/environment_s": Metric("s", "f8", "of which acting in the environment"),
    "time/world_model_s": Metric("s", "f8", "of which world-model updates"),
    "time/actor_s": Metric("s", "f8", "of which imagination and actor updates"),
    "time/critic_s": Metric("s", "f8", "of which critic updates"),
    "time/evaluation_s": Metric("s", "f8", "of which evaluations and diagnostics"),
    "time/environment_device_s": Metric("s", "f8", "device time of it (each 0 on a CPU)"),
    "time/world_model_device_s": Metric("s", "f8", "device time of world-model updates"),
    "time/actor_device_s": Metric("s", "f8", "device time of imagination and actor updates"),
    "time/critic_device_s": Metric("s", "f8", "device time of critic updates"),
    "time/evaluation_device_s": Metric("s", "f8", "device time of evaluations and diagnostics"),
    "time/cpu_s": Metric("s", "f8", "CPU time of training so far, of all threads"),
    "rate/env_steps_per_s": Metric("1/s", "f4", "environment steps per wall second, this attempt"),
    "rate/updates_per_s": Metric("1/s", "f4", "optimiser steps per wall second, this attempt"),
    "memory/host_bytes": Metric("B", "i8", "resident memory of this process"),
    "memory/host_peak_bytes": Metric("B", "i8", "its peak since the process started"),
    "memory/device_peak_bytes": Metric("B", "i8", "peak allocated device memory (0 on a CPU)"),
}


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns and lengths (env steps) of whole deterministic episodes of a task."""

    task: str
    returns: Float[np.ndarray, " N"]
    lengths: Int[np.ndarray, " N"]
    protocol: str
    threshold: float = math.inf  # a return that counts as solved; inf where the task names none

    @property
    def n(self) -> int:
        """Episodes."""
        return len(self.returns)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def median(self) -> float:
        """Median return."""
        return float(np.median(self.returns))

    @property
    def std(self) -> float:
        """Sample standard deviation over episodes; 0 for a single one."""
        return float(np.std(self.returns, ddof=1)) if self.n > 1 else 0.0

    @property
    def success(self) -> float | None:
        """Share of episodes that solved the task; None where nothing says what that is."""
        if math.isinf(self.threshold):
            return None
        return float(np.mean(self.returns >= self.threshold))

    @property
    def iqm(self) -> float:
        """Interquartile mean: the mean after cutting a quarter (rounded down) at each end."""
        cut = self.n // 4
        return float(np.mean(np.sort(self.returns)[cut : self.n - cut]))


@dataclass(frozen=True)
class Report:
    """The state of a run after `epoch` epochs; `metrics` holds those of METRICS that exist.

    `evaluations` has one entry a task of the run, or none at all.
    """

    epoch: int
    env_steps: int
    metrics: Mapping[str, float]
    evaluations: tuple[Evaluation, ...]
    score: float | None
    is_best: bool

    def __post_init__(self) -> None:
        unknown = set(self.metrics) - set(METRICS)
        if unknown:
            raise KeyError(f"metrics without an entry in METRICS: {sorted(unknown)}")

    @property
    def return_mean(self) -> float:
        """Mean return over the tasks, each weighing the same. Raises ValueError without any."""
        return statistics.fmean(evaluation.mean for evaluation in self.evaluations)


def variance_of_mean(evaluations: Sequence[float]) -> float | None:
    """Variance of the mean of evaluations in a row; None for fewer than two.

    From successive differences (von Neumann 1941): learning moves the evaluations too, and their
    plain variance would count that as noise.
    """
    if len(evaluations) < 2:
        return None
    differences = np.diff(np.asarray(evaluations, dtype=float))
    return float(np.mean(differences**2) / 2 / len(evaluations))
