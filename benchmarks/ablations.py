"""Two choices of earlier runs and what they do to what the actor sees, beside the defaults.

    python -m benchmarks.ablations [--task cartpole-swingup] [--epochs 300] [--seeds 0 1 2]

`mse_broadcast` regresses all reward logits to the raw reward: the reward that is decoded from them
is 0 everywhere. `simnorm_velocity` ends the velocity in a SimNorm and puts nothing back on the
simplices: every group's sum grows by 1 an environment step. After training, on 2048 sequences of
the run's own experience: the std of true and of decoded rewards, the rms of d reward / d action,
the mean sum of a latent's groups after 16 steps of the model, and the policy's return over 20
unseen episodes. Writes benchmarks/results/ablations.json.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.record import provenance, write
from flowpwm import twohot
from flowpwm.commands.settings import parse_settings
from flowpwm.config import EvaluationConfig
from flowpwm.evaluate import Evaluator
from flowpwm.networks import SIMNORM_GROUP
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.ablations import SWEEP

VARIANTS = ("flow", "mse_broadcast", "simnorm_velocity")  # arms of the sweep
STEPS = 16
EPISODES = EvaluationConfig(episodes=20, seed=2_000_003)


def measure(state: TrainState) -> dict[str, float]:
    """What the docstring of this file names."""
    model = state.agent.world_model
    generator = torch.Generator().manual_seed(0)
    sequences = state.experience.sample(2048, 1, generator)
    e = model.embed(sequences.task)
    action = sequences.action[0].clone().requires_grad_()
    with torch.no_grad():
        z = model.encode(sequences.obs[0], e)
    reward = twohot.decode(model.reward_logits(z, e, action))
    (slope,) = torch.autograd.grad(reward.sum(), action)
    with torch.no_grad():
        rolled = model.rollout(z, e, action.detach().expand(STEPS, *action.shape))[-1]
    return {
        "true_reward_std": float(sequences.reward.std()),
        "decoded_reward_std": float(reward.detach().std()),
        "reward_slope_rms": float(slope.square().mean().sqrt()),
        "group_sum_after_16": float(rolled.unflatten(-1, (-1, SIMNORM_GROUP)).sum(-1).mean()),
        "return": Evaluator(state.config, EPISODES)(state.agent)[0].mean,
    }


def main() -> None:
    """Train every variant on every seed, print a line each, write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", default="cartpole-swingup")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    provenance()
    rows = []
    for name in VARIANTS:
        for seed in options.seeds:
            words = ["laptop", *SWEEP.arms[name].split(), f"epochs={options.epochs}"]
            words += [f"seed={seed}", f"report_every={options.epochs}"]
            words += [f"evaluation.every={options.epochs}"]
            config = parse_settings([options.task, *words])
            state = TrainState.start(config)
            for _ in train(state):
                pass
            rows.append({"variant": name, "seed": seed, **measure(state)})
            print({k: round(v, 8) if isinstance(v, float) else v for k, v in rows[-1].items()})
    print(write("ablations", {"task": options.task, "epochs": options.epochs, "rows": rows}))


if __name__ == "__main__":
    main()
