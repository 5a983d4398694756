"""Several seeds as one program: seconds a seed and epoch, beside as many runs one by one.

    python -m benchmarks.together [--seeds 1 3 8] [--epochs 10] [--set key=value ...]

A small flow (`laptop flow_v1` on cartpole-swingup), whose epochs are many small kernels; with
`--set device=cuda` and a larger preset, what it is meant for. One thread. Seconds are of whole
epochs, acting included. Writes benchmarks/results/together.json, unless `--set` makes it something
else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Sequence

import torch

from benchmarks.arguments import count, refuse_wrong
from benchmarks.record import provenance, write
from flowpwm import memory
from flowpwm.alone import Alone
from flowpwm.commands.settings import parse_settings
from flowpwm.state import TrainState
from flowpwm.together import Program
from flowpwm.train import learn
from flowpwm.updates import Updates

BASE = ("cartpole-swingup", "laptop", "flow_v1", "epochs=100000", "wm_warmup_updates=0")


def measure(words: Sequence[str], seeds: int, epochs: int) -> dict[str, float]:
    """Medians over epochs, after two that warm up, for one seed of so many."""
    torch.set_num_threads(1)
    states = [TrainState.start(parse_settings([*words, f"seed={i}"])) for i in range(seeds)]
    updates: Updates = Program(states) if seeds > 1 else Alone(states[0])
    wall, cpu = [], []
    for _ in range(2 + epochs):
        began, cpu_began = time.perf_counter(), time.process_time()
        learn(states, updates)
        wall.append((time.perf_counter() - began) / seeds)
        cpu.append((time.process_time() - cpu_began) / seeds)
    device = states[0].config.device
    return {
        "wall_s_per_seed": statistics.median(wall[2:]),
        "cpu_s_per_seed": statistics.median(cpu[2:]),
        "host_peak_bytes": memory.host_peak_bytes(),
        "device_peak_bytes": memory.device_peak_bytes(device),
    }


def main() -> None:
    """Measure each number of seeds in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=count, nargs="+", default=[1, 3, 8])
    parser.add_argument("--epochs", type=count, default=10)
    parser.add_argument("--set", nargs="*", default=[], help="words for another configuration")
    options = parser.parse_args()
    refuse_wrong(parser, [*BASE, *options.set])
    provenance()
    rows: dict[int, dict[str, float]] = {}
    for seeds in options.seeds:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows[seeds] = pool.apply(measure, ((*BASE, *options.set), seeds, options.epochs))
        row, first = rows[seeds], rows[options.seeds[0]]
        print(
            f"{seeds} seeds: {row['wall_s_per_seed']:.4f} s of wall a seed and epoch, "
            f"x{row['wall_s_per_seed'] / first['wall_s_per_seed']:.2f}; "
            f"{row['host_peak_bytes'] / 2**20:.0f} MiB",
            flush=True,
        )
    if not options.set:
        write("together", {"base": list(BASE), "epochs": options.epochs, "seeds": rows})


if __name__ == "__main__":
    main()
