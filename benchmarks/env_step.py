"""Environment steps per CPU-second of every task, beside dm_control's own Python loop.

    python -m benchmarks.env_step [--tasks TASK ...] [--num-envs 64] [--steps 100] [--repeats 5]

Both sides repeat each action twice and compute observation and reward; starts of episodes are
timed apart (`reset_ms`, all environments together). CPU time of this process, one thread, best
of the repeats, the two sides taking turns. Also runs both from the same states for 200 control
steps and reports the largest difference. Tasks that are not the suite's or variations of them
have no other side. Writes benchmarks/results/env_step.json, unless only some tasks are measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

# no window is opened here, and looking for a display costs time and a warning
os.environ.setdefault("MUJOCO_GL", "disabled")

import numpy as np

from benchmarks.record import provenance, write
from flowpwm.envs import ENVS, VectorEnv, make
from flowpwm.envs.control_suite import SuiteEnv
from flowpwm.envs.reference import Reference, max_difference

# dm_control's loop needs few steps for a steady figure: it runs one simulation at a time
LOOP_STEPS = 300
COLUMNS = {
    "steps/cpu-s": ("env_steps_per_cpu_s", "{:,.0f}"),
    "with resets": ("env_steps_per_cpu_s_with_resets", "{:,.0f}"),
    "dm_control": ("dm_control_env_steps_per_cpu_s", "{:,.0f}"),
    "speedup": ("speedup", "{:.1f}"),
    "reset ms": ("reset_ms", "{:.1f}"),
    "max |d obs|": ("max_obs_difference", "{:.1e}"),
    "max |d reward|": ("max_reward_difference", "{:.1e}"),
}


def cpu_time_s(work: Callable[[], object]) -> float:
    """CPU time this process spends on `work`, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def batched(env: VectorEnv, actions: np.ndarray) -> None:
    """Our side: one batched step for each of `actions` [T, B, A]."""
    for action in actions:
        env.step(action)


def looped_time_s(reference: Reference, actions: np.ndarray, action_repeat: int) -> float:
    """CPU time of dm_control's side from a new start: the loop with the repeat written out."""

    def loop() -> None:
        for action in actions:
            for _ in range(action_repeat):
                reference.control_step(action)

    reference.reset()
    return cpu_time_s(loop)


def measure(task: str, num_envs: int, steps: int, repeats: int) -> dict[str, float]:
    """One task's row of the result."""
    env = make(task, num_envs, seed=0)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (steps, num_envs, env.action_dim))
    loop_actions = rng.uniform(-1.0, 1.0, (LOOP_STEPS, 1, env.action_dim))
    reference = Reference(task, 1, seed=0) if isinstance(env, SuiteEnv) else None
    reset_s, batched_s, looped_s = [], [], []
    for _ in range(repeats):
        reset_s.append(cpu_time_s(env.reset))
        batched_s.append(cpu_time_s(lambda: batched(env, actions)))
        if reference is not None:
            looped_s.append(looped_time_s(reference, loop_actions, env.spec.action_repeat))
    episode_s = min(batched_s) * env.episode_length / steps + min(reset_s)
    row = {
        "env_steps_per_cpu_s": num_envs * steps / min(batched_s),
        "env_steps_per_cpu_s_with_resets": num_envs * env.episode_length / episode_s,
        "reset_ms": 1000.0 * min(reset_s),
    }
    if reference is not None:
        difference = max_difference(Reference(task, 4, seed=0), control_steps=200, seed=0)
        row["dm_control_env_steps_per_cpu_s"] = LOOP_STEPS / min(looped_s)
        row["speedup"] = row["env_steps_per_cpu_s"] / row["dm_control_env_steps_per_cpu_s"]
        row["max_obs_difference"] = difference.obs
        row["max_reward_difference"] = difference.reward
    return row


def main() -> None:
    """Measure the tasks, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    # the point mass is a few array operations: nothing to be fast at
    tasks = [task for task in ENVS if task != "point-mass"]
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, metavar="TASK")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100, help="batched steps a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    provenance()
    print(("{:24}" + "{:>15}" * len(COLUMNS)).format("task", *COLUMNS))
    results: dict[str, dict[str, float]] = {}
    for task in options.tasks:
        row = measure(task, options.num_envs, options.steps, options.repeats)
        results[task] = row
        cells = [form.format(row[key]) if key in row else "" for key, form in COLUMNS.values()]
        print(f"{task:24}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    if options.tasks == tasks:
        settings = {name: value for name, value in vars(options).items() if name != "tasks"}
        write("env_step", {"settings": settings, "tasks": results})


if __name__ == "__main__":
    main()
