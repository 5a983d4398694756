"""Every phase of an epoch: seconds, products, their share of this machine's peak, memory.

    python -m benchmarks.train_step [--sizes 5M 48M] [--threads 1] [--repeats 5] [--set key=value]

Each size as MLP and as flow (Heun, 1 to 8 substeps; other integrators at 4 velocity calls) on the
Ant with a buffer of random transitions; a flow twice, with the rollout in its loss and `matched`,
by flow matching alone. Without the head that tells final states, which the implementation that we
compare with has not; what it costs is a row of its own. Horizon 16, batches of 256 (5M) and 64
(48M), 128 rollouts of the actor.
Every row in a process of its own, the peak of products measured in each before and after. Writes
benchmarks/results/train_step.json; a part of the rows, or with `--set`, only onto the terminal.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.record import provenance, write
from flowpwm import memory
from flowpwm.alone import Alone
from flowpwm.commands.settings import parse_settings
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from flowpwm.state import TrainState
from flowpwm.work import Work

BATCHES = {"5M": 256, "48M": 64}
MATCHED = ("world_model.wm_rollout_weight=0", "world_model.flow_matching_weight=1")
ROLLED, MATCHING = "rollout", "matched"
NO_FINAL_STATES = "world_model.continuation_weight=0"


def kinds() -> dict[str, list[str]]:
    """What is measured of a size, by name: the words of a configuration."""
    found = {"mlp": ["mlp", NO_FINAL_STATES]}
    for integrator, substeps in [
        *(("heun", k) for k in (1, 2, 4, 8)),
        *(("euler", 4), ("midpoint", 2), ("rk4", 1)),
    ]:
        words = ["flow", f"world_model.integrator={integrator}", f"world_model.substeps={substeps}"]
        found[f"{integrator} {substeps} {ROLLED}"] = [*words, NO_FINAL_STATES]
        found[f"{integrator} {substeps} {MATCHING}"] = [*words, *MATCHED, NO_FINAL_STATES]
        if (integrator, substeps) == ("heun", 4):
            found["heun 4 matched, final states"] = [*words, *MATCHED]
    return found


def filled(config: RunConfig) -> TrainState:
    """A run whose buffer holds random transitions, as if it had acted."""
    state = TrainState.start(config)
    assert state.acting is not None
    buffer, rng = state.acting.buffer, np.random.default_rng(0)
    shape = (config.num_envs, state.agent.tasks.obs_dim)
    for _ in range(4 * config.horizon):
        obs = rng.normal(size=(2, *shape)).astype(np.float32)
        action = rng.uniform(-1, 1, (config.num_envs, state.agent.tasks.action_dim))
        end = np.zeros(config.num_envs, dtype=bool)
        buffer.add(obs[0], action, rng.normal(size=config.num_envs), obs[1], end, end)
    return state


def matmul_gflops(seconds: float = 0.5) -> float:
    """Products of 1024 x 1024 matrices in float32 on the threads of torch, the best of many."""
    a = torch.randn(1024, 1024)
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        for _ in range(4):
            torch.mm(a, a)
        best = max(best, 4 * 2 * 1024**3 / (time.perf_counter() - began) / 1e9)
    return best


def timed(work: Callable[[], object], repeats: int, least_s: float = 0.3) -> dict[str, float]:
    """CPU and wall seconds of one call: the median of `repeats` turns of `least_s` or more."""
    work()  # what is made once is made
    cpu, wall = [], []
    for _ in range(repeats):
        calls, began, cpu_began = 0, time.perf_counter(), time.process_time()
        while calls == 0 or time.perf_counter() - began < least_s:
            work()
            calls += 1
        cpu.append((time.process_time() - cpu_began) / calls)
        wall.append((time.perf_counter() - began) / calls)
    return {"cpu_s": statistics.median(cpu), "wall_s": statistics.median(wall)}


def measure(words: Sequence[str], threads: int, repeats: int) -> dict[str, Any]:
    """One row: every phase, and the whole epoch that they make."""
    torch.set_num_threads(threads)
    config = parse_settings(words)
    peaks = [matmul_gflops()]
    state = filled(config)
    steps = Alone(state)
    batch = steps.actor()
    works = estimate(config).work
    actor = works.actor.times(1 / config.actor_updates)
    phases: dict[str, tuple[Callable[[], object], Work, int]] = {
        "world_model": (
            steps.world_model,
            works.world_model.times(1 / config.wm_updates),
            config.wm_updates,
        ),
        "actor": (steps.actor, actor, config.actor_updates),
        "critic": (lambda: steps.critic(batch), works.critic, config.actor_updates),
    }
    row: dict[str, Any] = {"parameters": estimate(config).parameters["total"]}
    epoch_s = 0.0
    for name, (step, work, count) in phases.items():
        spent = timed(step, repeats)
        row[name] = spent | {"gflop": work.flops / 1e9}
        epoch_s += count * spent["cpu_s"]
    peaks.append(matmul_gflops())
    row["epoch_cpu_s"] = epoch_s  # of updates: acting is in env_step.json
    row["matmul_gflops"] = max(peaks)
    for name in phases:
        phase = row[name]
        phase["gflops"] = phase["gflop"] / phase["wall_s"]
        phase["share_of_peak"] = phase["gflops"] / row["matmul_gflops"]
    row["host_peak_bytes"] = memory.host_peak_bytes()
    return row


def main() -> None:
    """Measure every row, print a table, keep it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("--kinds", nargs="+", choices=list(kinds()), default=list(kinds()))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], help="key=value, for another configuration")
    options = parser.parse_args()
    provenance()
    rows: dict[str, dict[str, Any]] = {}
    print(
        f"{'CPU-seconds of one':24}{'world model':>12}{'actor':>8}{'critic':>8}{'epoch':>8}"
        f"{'% of peak':>18}{'GiB':>6}"
    )
    for size in options.sizes:
        for kind in options.kinds:
            words = ["ant", size, *kinds()[kind], f"wm_batch_size={BATCHES[size]}", *options.set]
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure, (words, options.threads, options.repeats))
            rows[f"{size} {kind}"] = row
            each = [row[name] for name in ("world_model", "actor", "critic")]
            shares = " ".join(f"{100 * phase['share_of_peak']:5.0f}" for phase in each)
            print(
                f"{size + ' ' + kind:24}{each[0]['cpu_s']:12.3f}{each[1]['cpu_s']:8.3f}"
                f"{each[2]['cpu_s']:8.3f}{row['epoch_cpu_s']:8.2f}{shares:>18}"
                f"{row['host_peak_bytes'] / 2**30:6.2f}",
                flush=True,
            )
    if options.set or len(rows) < len(BATCHES) * len(kinds()):
        print("not recorded: these are not all rows, or rows of another configuration")
    else:
        write("train_step", {"threads": options.threads, "repeats": options.repeats, "rows": rows})


if __name__ == "__main__":
    main()
