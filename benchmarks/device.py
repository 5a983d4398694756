"""Training on a GPU: epochs a second, kernel starts, waits of the host, share of the peak, memory.

    python -m benchmarks.device [--sizes 5M 48M] [--kinds mlp flow_v1 ...] [--seeds 1 3 8]
                                [--epochs 20] [--set precision=bf16 compile=true ...]

Each size and kind on the Ant as users run it (batch 1024, 128 environments, one thread of the host
a run), then several seeds of the smallest flow as one program. The first epochs, which warm up and
compile, are timed apart. Every row in a process of its own. Writes benchmarks/results/device.json,
unless `--set` makes it other trainings; `--set device=cpu` tries it where there is no GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.arguments import count, refuse_wrong
from benchmarks.record import provenance, write
from flowpwm import memory
from flowpwm.alone import Alone
from flowpwm.commands.settings import parse_settings
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from flowpwm.state import PHASES, TrainState
from flowpwm.together import Program
from flowpwm.train import learn
from flowpwm.updates import Updates

KINDS = ("mlp", "flow_v1", "flow_v2", "flow_v3")
WARM_UP = 3
LONG_RUN = 20_000  # epochs of the users' runs
STARTS = ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cudaGraphLaunch")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def peak_flops(config: RunConfig) -> float:
    """Of products of large matrices on the device, in the numbers that losses use."""
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    size = 8192 if config.device == "cuda" else 1024
    a = torch.randn(size, size, device=config.device, dtype=dtype)
    spent = []
    for _ in range(5):
        _wait(config.device)
        began = time.perf_counter()
        torch.mm(a, a)
        _wait(config.device)
        spent.append(time.perf_counter() - began)
    return 2 * size**3 / min(spent)


def calls(states: list[TrainState], updates: Updates) -> dict[str, int]:
    """What an epoch asks of the device: starts of kernels or graphs, and waits for it."""
    activities = [ProfilerActivity.CPU]
    if states[0].config.device == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        learn(states, updates)
    counts = {event.key: event.count for event in seen.key_averages()}
    return {
        "starts": sum(counts.get(name, 0) for name in STARTS),
        "waits": sum(counts.get(name, 0) for name in WAITS),
    }


def measure(words: Sequence[str], seeds: int, epochs: int) -> dict[str, Any]:
    """One row; seconds are of an epoch of one seed."""
    config = parse_settings(words)
    torch.set_num_threads(config.num_threads)
    states = [TrainState.start(dataclasses.replace(config, seed=seed)) for seed in range(seeds)]
    updates: Updates = Program(states) if seeds > 1 else Alone(states[0])
    began = time.perf_counter()
    for _ in range(WARM_UP):
        learn(states, updates)
    warm_s = time.perf_counter() - began
    before = dict(states[0].seconds)
    began = time.perf_counter()
    for _ in range(epochs):
        learn(states, updates)
    _wait(config.device)
    epoch_s = (time.perf_counter() - began) / epochs / seeds
    flops = estimate(config).flops_per_epoch
    spent = {p: (states[0].seconds[p] - before[p]) / epochs for p in PHASES if p != "evaluation"}
    return {
        "epochs_per_s": 1 / epoch_s,
        "hours_of_20000_epochs": LONG_RUN * epoch_s / 3600,
        "first_epochs_s": warm_s,
        "s_per_epoch": spent,
        **calls(states, updates),
        "share_of_peak": flops / epoch_s / peak_flops(config),
        "recompute": states[0].config.recompute,
        "device_peak_bytes": memory.device_peak_bytes(config.device),
        "host_peak_bytes": memory.host_peak_bytes(),
    }


def main() -> None:
    """Measure every row, print a table, keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["5M", "48M"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", nargs="*", type=count, default=[1, 3, 8])
    parser.add_argument("--epochs", type=count, default=20)
    parser.add_argument("--set", nargs="*", default=[], help="words for other trainings")
    options = parser.parse_args()
    provenance()
    common = ["ant_runs", "num_threads=1", "wm_warmup_updates=0", "device=cuda", *options.set]
    for size in options.sizes:
        refuse_wrong(parser, ["ant", size, *common])
    rows: dict[str, dict[str, Any]] = {}
    wanted = [(f"{s} {k}", ["ant", s, k], 1) for s in options.sizes for k in options.kinds]
    small = options.sizes[0], options.kinds[-1]
    wanted += [(f"{' '.join(small)}, {n} seeds", ["ant", *small], n) for n in options.seeds]
    for name, words, seeds in wanted:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, ([*words, *common], seeds, options.epochs))
        rows[name] = row
        print(
            f"{name:22}{row['epochs_per_s']:9.2f} epochs/s{row['hours_of_20000_epochs']:8.2f} h"
            f"{row['starts']:9} starts{row['waits']:6} waits{100 * row['share_of_peak']:7.1f} %"
            f"{row['device_peak_bytes'] / 2**30:7.1f} GiB",
            flush=True,
        )
    if not options.set:
        device = torch.cuda.get_device_name()
        print(write("device", {"device": device, "epochs": options.epochs, "rows": rows}))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
