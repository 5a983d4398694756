"""Does host memory stay flat? Slope of resident memory over a run of flow heun K=4.

    python -m benchmarks.memory_growth [--epochs 500] [--task cartpole-swingup]

The replay buffer is full before the slope is taken, so what is left is a leak. Least squares over
the epochs after `--skip`; writes benchmarks/results/memory_growth.json.
"""

from __future__ import annotations

import argparse

import numpy as np
import psutil
import torch
from scipy import stats

from benchmarks.record import provenance, write
from flowpwm.compose import compose
from flowpwm.state import TrainState
from flowpwm.train import train


def main() -> None:
    """Train, sample resident memory every epoch, fit a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--skip", type=int, default=50, help="epochs of warm-up left out")
    parser.add_argument("--task", default="cartpole-swingup")
    options = parser.parse_args()
    torch.set_num_threads(1)
    provenance()
    preset = f"{options.task} laptop flow_v2"
    sizes = compose(preset)
    config = compose(
        preset,
        {
            "epochs": options.skip + options.epochs,
            "report_every": 1,
            "evaluation.every": 50,
            "buffer_capacity": sizes.horizon * sizes.num_envs * 40,  # full within the warm-up
        },
    )
    memory_mb = [
        psutil.Process().memory_info().rss / 2**20 for _ in train(TrainState.start(config))
    ][options.skip :]
    (slope, _), covariance = np.polyfit(np.arange(len(memory_mb)), memory_mb, 1, cov=True)
    half = float(stats.t.ppf(0.975, len(memory_mb) - 2) * covariance[0, 0] ** 0.5)
    print(
        f"resident memory {memory_mb[0]:.1f} -> {memory_mb[-1]:.1f} MB over {options.epochs} "
        f"epochs: {slope:.5f} +- {half:.5f} MB an epoch"
    )
    write(
        "memory_growth",
        {
            "config": "laptop flow_v2 (heun, 4 substeps)",
            "epochs": options.epochs,
            "slope_mb_per_epoch": float(slope),
            "slope_95_half_width": half,
            "first_mb": memory_mb[0],
            "last_mb": memory_mb[-1],
        },
    )


if __name__ == "__main__":
    main()
