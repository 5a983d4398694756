"""The replay buffer: microseconds to write a step, milliseconds to sample, beside what is needed.

    python -m benchmarks.buffer [--capacity 1000000] [--num-envs 128] [--batch 256] [--horizon 16]

Observations of 17 numbers and actions of 6, as those of cheetah-run; the buffer is full. What is
needed is a copy of the same bytes, for a step, and one gather of the same records, for a sample.
Medians of many calls, one thread. Writes benchmarks/results/buffer.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.record import provenance, write
from flowpwm.buffer import Buffer

OBS, ACTION = 17, 6


def median_us(work: Callable[[], object], calls: int) -> float:
    """Microseconds of wall time of one call."""
    spent = []
    for _ in range(calls):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return 1e6 * statistics.median(spent)


def main() -> None:
    """Fill, write, sample."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--capacity", type=int, default=1_000_000)
    parser.add_argument("--num-envs", type=int, default=128)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--horizon", type=int, default=16)
    options = parser.parse_args()
    torch.set_num_threads(1)
    provenance()
    n, rng = options.num_envs, np.random.default_rng(0)
    buffer = Buffer(options.capacity, OBS, ACTION, torch.zeros(n, dtype=torch.int64))
    obs = rng.normal(size=(n, OBS)).astype(np.float32)
    action = rng.normal(size=(n, ACTION)).astype(np.float32)
    reward, no = rng.normal(size=n), np.zeros(n, dtype=bool)

    def add() -> None:
        buffer.add(obs, action, reward, obs, no, no)

    for _ in range(buffer.rows):
        add()
    records = buffer.records
    row = records[0].numpy().copy()
    target = records.numpy()
    flat = records.flatten(0, 1)
    generator = torch.Generator().manual_seed(0)

    def gather() -> None:
        size = (options.batch * options.horizon,)
        flat.index_select(0, torch.randint(len(flat), size, generator=generator))

    figures = {
        "write_us": median_us(add, 20_000),
        "copy_us": median_us(lambda: np.copyto(target[1], row), 20_000),
        "sample_ms": median_us(
            lambda: buffer.sample(options.batch, options.horizon, generator), 2_000
        )
        / 1e3,
        "gather_ms": median_us(gather, 2_000) / 1e3,
        "bytes": records.nbytes,
    }
    print(f"writing {n} transitions: {figures['write_us']:.1f} us, a copy {figures['copy_us']:.1f}")
    print(f"sampling: {figures['sample_ms']:.3f} ms, one gather {figures['gather_ms']:.3f}")
    write("buffer", {"settings": vars(options), **figures})


if __name__ == "__main__":
    main()
