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
from typing import Any

import torch

from benchmarks.record import provenance, write
from flowpwm import twohot
from flowpwm.compose import compose
from flowpwm.config import EvaluationConfig
from flowpwm.evaluate import Evaluator
from flowpwm.networks import SIMNORM_GROUP
from flowpwm.state import TrainState
from flowpwm.train import train

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "mse_broadcast": {"world_model.reward_loss": "mse_broadcast"},
    "simnorm_velocity": {
        "world_model.velocity_head": "simnorm",
        "world_model.project_velocity": False,
        "world_model.retraction": "none",
    },
}
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
        "decoded_reward_std": float(reward.std()),
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
    for name, settings in VARIANTS.items():
        for seed in options.seeds:
            chosen = {"epochs": options.epochs, "seed": seed, "evaluation.every": options.epochs}
            config = compose(f"{options.task} laptop flow", {**chosen, **settings})
            state = TrainState.start(config)
            for _ in train(state):
                pass
            rows.append({"variant": name, "seed": seed, **measure(state)})
            print({k: round(v, 8) if isinstance(v, float) else v for k, v in rows[-1].items()})
    print(write("ablations", {"task": options.task, "epochs": options.epochs, "rows": rows}))


if __name__ == "__main__":
    main()
