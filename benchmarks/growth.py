"""How an epoch's time grows with each size of a configuration, and with trials beside each other.

    python -m benchmarks.growth [--epochs 5] [--parallel 1 2 3 4]

From a small flow on cheetah-run one size is changed at a time. Beside the seconds stands what
`flowpwm.work` counts; where seconds grow slower than products of matrices, fixed costs of small
layers are spread over more rows. Then so many trials at once, one thread each: epochs a second of
all of them. Writes benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

from benchmarks.record import provenance, write
from flowpwm.alone import Alone
from flowpwm.commands.settings import parse_settings
from flowpwm.cost import estimate
from flowpwm.state import TrainState
from flowpwm.train import learn

BASE = ("cheetah-run", "laptop", "flow_v1", "epochs=100000", "wm_warmup_updates=0")
AXES: dict[str, tuple[int, ...]] = {
    "world_model.substeps": (1, 2, 4, 8, 16),
    "horizon": (4, 8, 16, 32),
    "wm_horizon": (2, 4, 8, 16),
    "wm_batch_size": (64, 128, 256, 512, 1024, 2048),
    "actor_batch_size": (32, 64, 128, 256, 512),
    "world_model.latent_dim": (64, 128, 256, 512, 1024),
    "num_envs": (8, 16, 32, 64, 128),
}


def epochs(words: Sequence[str], count: int) -> dict[str, float]:
    """Median wall and CPU seconds of an epoch, after two that fill the buffer."""
    torch.set_num_threads(1)
    state = TrainState.start(parse_settings(words))
    updates = Alone(state)
    wall, cpu = [], []
    for _ in range(2 + count):
        began, cpu_began = time.perf_counter(), time.process_time()
        learn([state], updates)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - cpu_began)
    work = estimate(state.config).work.epoch
    state.close()
    return {
        "wall_s": statistics.median(wall[2:]),
        "cpu_s": statistics.median(cpu[2:]),
        "gflop": work.flops / 1e9,
        "calls": work.calls,
    }


def beside(start: Barrier, seconds: float, done: Any) -> None:
    """One of several trials: how many epochs it does in so many seconds."""
    torch.set_num_threads(1)
    state = TrainState.start(parse_settings(BASE))
    updates = Alone(state)
    learn([state], updates)
    start.wait()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        learn([state], updates)
        count += 1
    done.put(count / (time.perf_counter() - began))


def together(trials: int, seconds: float = 20.0) -> float:
    """Epochs a second of all of so many trials at once."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(trials), context.Queue()
    processes = [context.Process(target=beside, args=(start, seconds, done)) for _ in range(trials)]
    for process in processes:
        process.start()
    rate = sum(done.get() for _ in processes)
    for process in processes:
        process.join()
    return rate


def main() -> None:
    """Measure every axis, then trials beside each other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--parallel", type=int, nargs="*", default=[1, 2, 3, 4])
    options = parser.parse_args()
    provenance()
    axes: dict[str, dict[int, dict[str, float]]] = {}
    for name, values in AXES.items():
        axes[name] = {}
        for value in values:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(epochs, ((*BASE, f"{name}={value}"), options.epochs))
            axes[name][value] = row
            first = axes[name][values[0]]
            print(
                f"{name:24}{value:6}{row['wall_s']:9.3f} s, x{row['wall_s'] / first['wall_s']:5.2f}"
                f"; products x{row['gflop'] / first['gflop']:6.2f}",
                flush=True,
            )
    rates = {trials: together(trials) for trials in options.parallel}
    for trials, rate in rates.items():
        print(f"{trials} trials at once: {rate:.2f} epochs a second")
    write("growth", {"base": list(BASE), "axes": axes, "epochs_per_s_of_trials": rates})


if __name__ == "__main__":
    main()
