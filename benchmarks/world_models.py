"""World models on the same data: errors ahead, and whether they foresee what an action changes.

    python -m benchmarks.world_models CHECKPOINT [CHECKPOINT ...] --work FOLDER [--seeds 0 1 2]

A dataset of the checkpoints' one task comes from their policies, noisy and random play. Every
variant trains on it with every seed, and is then judged on a second dataset that nothing was
trained on by `flowpwm.diagnostics`, 1 and 16 steps ahead, and in the simulator: from 512 states
that the last checkpoint's policy reaches with noise, its actions of the next steps are replayed
with a constant push to one side and to the other. `effect_H` is the correlation, over states, of
the true difference between both sums of H rewards with the predicted one. A policy that learns
inside the model climbs this difference, so a model can predict rewards well and still be useless to
it. Also the CPU time of an update. Prints means over seeds; writes
benchmarks/results/world_models_<task>.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32

from benchmarks.offline import dataset
from benchmarks.record import provenance, write
from flowpwm import checkpoint, twohot
from flowpwm.agent import Agent
from flowpwm.commands.settings import parse_settings
from flowpwm.config import RunConfig
from flowpwm.datasets import open_dataset
from flowpwm.diagnostics import model_metrics
from flowpwm.envs import make
from flowpwm.state import TrainState
from flowpwm.train import train
from flowpwm.world_models import WorldModel

# Sequences of 4 steps in batches of 256 cost what 16 steps in batches of 64 do.
SHORT, LONG = "wm_horizon=4 wm_batch_size=256", "wm_horizon=16 wm_batch_size=64"
SIMPLEX, LOGITS = "flow world_model.chart=simplex", "flow world_model.chart=logits"
VARIANTS = {
    "mlp": f"mlp {SHORT}",
    "mlp, 16 steps": f"mlp {LONG}",
    "simplex, euler 1": f"{SIMPLEX} world_model.substeps=1 {SHORT}",
    "simplex, euler 2": f"{SIMPLEX} world_model.substeps=2 {SHORT}",
    "simplex, mean flow": f"{SIMPLEX} world_model.objective=mean_flow {SHORT}",
    "logits, euler 1": f"{LOGITS} world_model.substeps=1 {SHORT}",
    "logits, euler 2": f"{LOGITS} world_model.substeps=2 {SHORT}",
    "logits, heun 2": f"{LOGITS} world_model.integrator=heun world_model.substeps=2 {SHORT}",
    "logits, 16 steps": f"{LOGITS} {LONG}",
    "logits, mean flow": f"{LOGITS} world_model.objective=mean_flow {SHORT}",
    "logits, no flow matching": f"{LOGITS} world_model.flow_matching_weight=0 {SHORT}",
    "logits, no rollout": (
        f"{LOGITS} world_model.wm_rollout_weight=0 world_model.flow_matching_weight=1 {SHORT}"
    ),
}
STATES, REACHED_AFTER, AHEAD, PUSH = 512, (25, 100, 200, 350), 16, 0.2
HORIZONS = (1, 8, AHEAD)
CORRELATION = 0.8  # of the noise of the policy that reaches the states


class Pushes(NamedTuple):
    """States and two futures of each: its actions pushed up, and pushed down."""

    obs: Float32[np.ndarray, "N O"]
    actions: Float32[np.ndarray, "2 H N A"]
    rewards: Float32[np.ndarray, "2 H N"]
    alive: Bool[np.ndarray, " N"]  # neither future ends within H


def push(config: RunConfig, agent: Agent, after: int, seed: int) -> Pushes:
    """Both futures of every state that the noisy policy reaches after so many steps."""
    count = STATES // len(REACHED_AFTER)
    envs = make(config.task, count, seed=seed)
    rng = np.random.default_rng(seed)
    task = torch.zeros(count, dtype=torch.int64)
    obs, noise = envs.reset(), np.zeros((count, agent.action_mask.shape[1]))

    def played(steps: int) -> list[np.ndarray]:
        nonlocal obs, noise
        actions = []
        for _ in range(steps):
            fresh = rng.standard_normal(noise.shape)
            noise = CORRELATION * noise + (1 - CORRELATION**2) ** 0.5 * fresh
            drawn = torch.as_tensor(noise, dtype=torch.float32)
            actions.append(agent.act(obs, task, drawn).numpy())
            obs = envs.step(actions[-1]).obs
        return actions

    played(after)
    state, first = envs.state_dict(), obs
    planned = np.stack(played(AHEAD))
    direction = PUSH * rng.standard_normal(noise.shape)
    alive = np.ones(count, dtype=bool)
    actions, rewards = [], []
    for sign in (1, -1):
        envs.load_state_dict(state)
        pushed = np.clip(planned + sign * direction, -1, 1).astype(np.float32)
        actions.append(pushed)
        steps = [envs.step(action) for action in pushed]
        rewards.append(np.stack([step.reward for step in steps]))
        alive &= ~np.any([step.terminated | step.truncated for step in steps], axis=0)
    envs.close()
    return Pushes(first, np.stack(actions), np.stack(rewards), alive)


@torch.no_grad()
def effects(model: WorldModel, futures: list[Pushes]) -> dict[str, float]:
    """Correlation of true with predicted effects of a push on the sum of 1, 8 and 16 rewards."""
    true, predicted = [], []
    for pushes in futures:
        e = model.embed(torch.zeros(len(pushes.obs), dtype=torch.int64))
        start = model.encode(torch.as_tensor(pushes.obs), e)
        sums = []
        for actions in torch.as_tensor(pushes.actions):
            latents = torch.cat([start[None], model.rollout(start, e, actions)[:-1]])
            rewards = twohot.decode(model.reward_logits(latents, e, actions))
            sums.append(rewards.cumsum(0).numpy()[:, pushes.alive])
        predicted.append(sums[0] - sums[1])
        true.append((pushes.rewards[0] - pushes.rewards[1]).cumsum(0)[:, pushes.alive])
    a, b = np.concatenate(true, axis=1), np.concatenate(predicted, axis=1)
    return {f"effect_{h}": float(np.corrcoef(a[h - 1], b[h - 1])[0, 1]) for h in HORIZONS}


def fit(task: str, words: str, seed: int, updates: int, data: Path) -> tuple[WorldModel, float]:
    """One variant, trained; and the CPU seconds of an update."""
    settings = [f"dataset={data}", "mode=pretrain", f"epochs={updates // 4}", f"seed={seed}"]
    settings += [f"report_every={updates // 4}", f"evaluation.every={updates // 4}"]
    config = parse_settings([task, "laptop", *words.split(), "wm_updates=4", *settings])
    state = TrainState.start(config)
    began = time.process_time()
    for _ in train(state):
        pass
    return state.agent.world_model, (time.process_time() - began) / state.updates


def main() -> None:
    """Make the data, fit and judge every variant, print the means, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    provenance()
    torch.set_num_threads(1)
    config, agent = checkpoint.load_agent(options.checkpoints[-1])
    work = options.work / config.task
    data = dataset(options.checkpoints, work / "train", 400, seed=0)
    held_out = dataset(options.checkpoints, work / "held_out", 40, seed=1)
    unseen = open_dataset(held_out, config.covered_tasks, config.task_names, "cpu")
    sequences = unseen.sample(2048, AHEAD, torch.Generator().manual_seed(0))
    futures = [push(config, agent, after, seed=31) for after in REACHED_AFTER]
    rows: list[dict[str, Any]] = []
    for name in options.variants:
        for seed in options.seeds:
            model, seconds = fit(config.task, VARIANTS[name], seed, options.updates, data)
            metrics = model_metrics(model, sequences)
            row = {key.removeprefix("model/"): value for key, value in metrics.items()}
            row |= effects(model, futures) | {"cpu_ms_per_update": 1000 * seconds}
            rows.append({"variant": name, "seed": seed} | {k: round(v, 4) for k, v in row.items()})
            print(rows[-1], flush=True)
    means = pd.DataFrame(rows).drop(columns="seed").groupby("variant", sort=False).mean()
    print(means.round(3).to_string())
    record = {"task": config.task, "updates": options.updates, "rows": rows}
    print(write(f"world_models_{config.task}", record))


if __name__ == "__main__":
    main()
