"""The actor's and the critic's losses: tensors in, (loss, metrics) out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from flowpwm import twohot
from flowpwm.critic import Critic
from flowpwm.policies import Policy
from flowpwm.returns import td_lambda
from flowpwm.world_models import WorldModel

REWARD_SPACES = {"raw": twohot.decode, "symlog": twohot.decode_symlog}


class Imagined(NamedTuple):
    """A rollout of the policy inside the world model; T = H + 1."""

    latents: Float[Tensor, "T B D"]
    rewards: Float[Tensor, "H B"]
    pre_tanh: Float[Tensor, "H B A"]


def imagine(
    world_model: WorldModel,
    policy: Policy,
    z: Float[Tensor, "B D"],
    horizon: int,
    reward_space: str,
    generator: torch.Generator,
) -> Imagined:
    """Roll the policy out for `horizon` steps; gradients flow through dynamics and rewards.

    The policy sees detached latents: its parameters are credited for the action that they chose,
    not for how earlier actions changed what it sees (SHAC, Xu et al. 2022; PWM §3.2).
    """
    latents, unsquashed = [z], []
    noise = policy.noise(z.expand(horizon, *z.shape), generator)
    for t in range(horizon):
        unsquashed.append(policy.pre_tanh(latents[-1].detach(), noise[t]))
        latents.append(world_model.next(latents[-1], torch.tanh(unsquashed[-1])))
    path, pre_tanh = torch.stack(latents), torch.stack(unsquashed)
    logits = world_model.reward_logits(path[:-1], torch.tanh(pre_tanh))
    return Imagined(path, REWARD_SPACES[reward_space](logits), pre_tanh)


def actor_loss(
    imagined: Imagined, critic: Critic, discount: float, scale: float
) -> tuple[Tensor, Float[Tensor, " B"]]:
    """Minus the mean of (sum_t discount^t r_t + discount^H min_i V_i(z_H)) / scale.

    Returns the loss and the detached unscaled returns [B] (PWM eq. 7).
    """
    horizon = len(imagined.rewards)
    weights = discount ** torch.arange(horizon, device=imagined.rewards.device)
    terminal = critic.minimum(imagined.latents[-1])
    returns = (weights.unsqueeze(-1) * imagined.rewards).sum(0) + discount**horizon * terminal
    return -returns.mean() / scale, returns.detach()


def saturation(pre_tanh: Float[Tensor, "*B A"]) -> Float[Tensor, ""]:
    """Minus the mean of log(1 - tanh(x)^2), summed over the action's components; 0 at x = 0.

    The squashing term of SAC's entropy (Haarnoja et al. 2018, appendix C): its slope does not
    fade where tanh is flat, so a policy that was driven there by a young model can come back.
    """
    log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    return -log_slope.sum(-1).mean()


@torch.no_grad()
def critic_targets(
    imagined: Imagined, critic: Critic, discount: float, lam: float
) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
    """Latents and their TD(lambda) targets, flattened over time and batch (N = H B)."""
    values = critic.minimum(imagined.latents)
    targets = td_lambda(imagined.rewards, values, discount, lam)
    return imagined.latents[:-1].detach().flatten(0, 1), targets.flatten()


def critic_loss(
    critic: Critic, latents: Float[Tensor, "B D"], targets: Float[Tensor, " B"]
) -> Tensor:
    """Squared error, averaged over states and members."""
    return (critic(latents) - targets).square().mean()
