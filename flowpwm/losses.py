"""The actor's and the critic's losses: tensors in, (loss, metrics) out."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    """A rollout of the policy inside the world model; T = H + 1.

    `discounts` weigh what follows a step: the discount factor times the probability that the state
    reached has a future. `entropy` is that of every action. `e` is the tasks' embedding.
    """

    latents: Float[Tensor, "T B D"]
    rewards: Float[Tensor, "H B"]
    discounts: Float[Tensor, "H B"]
    pre_tanh: Float[Tensor, "H B A"]
    entropy: Float[Tensor, "H B"]
    e: Float[Tensor, "B E"]


class CriticBatch(NamedTuple):
    """States and what the critic shall say of them."""

    latents: Float[Tensor, "N D"]
    e: Float[Tensor, "N E"]
    targets: Float[Tensor, " N"]

    def at(self, index: Tensor) -> CriticBatch:
        """Some of the states."""
        return CriticBatch(*(x[index] for x in self))

    @staticmethod
    def together(parts: Sequence[CriticBatch], horizon: int) -> CriticBatch:
        """All states of all parts, ordered as those of the whole batch: by time, then by sample."""

        def joined(fields: tuple[Tensor, ...]) -> Tensor:
            over_time = [x.unflatten(0, (horizon, -1)) for x in fields]
            return torch.cat(over_time, dim=1).flatten(0, 1)

        return CriticBatch(*(joined(fields) for fields in zip(*parts, strict=True)))


def imagine(
    world_model: WorldModel,
    policy: Policy,
    z: Float[Tensor, "B D"],
    e: Float[Tensor, "B E"],
    action_mask: Float[Tensor, "B A"],
    noise: Float[Tensor, "H B A"],
    reward_space: str,
    discount: float,
) -> Imagined:
    """Roll the policy out for H steps; gradients flow through dynamics and rewards.

    The policy sees detached latents: its parameters are credited for the action that they chose,
    not for how earlier actions changed what it sees (SHAC, Xu et al. 2022; PWM §3.2).
    """
    latents, unsquashed = [z], []
    for step_noise in noise:
        unsquashed.append(policy.pre_tanh(latents[-1].detach(), e, step_noise) * action_mask)
        latents.append(world_model.advance(latents[-1], e, torch.tanh(unsquashed[-1])))
    path, pre_tanh = torch.stack(latents), torch.stack(unsquashed)
    rewards = REWARD_SPACES[reward_space](
        world_model.reward_logits(path[:-1], e, torch.tanh(pre_tanh))
    )
    goes_on = world_model.continuation(path[1:], e)
    discounts = torch.full_like(rewards, discount) if goes_on is None else discount * goes_on
    return Imagined(
        path, rewards, discounts, pre_tanh, entropy(pre_tanh, policy.std(), action_mask), e
    )


def actor_loss(
    imagined: Imagined, critic: Critic, scale: float | Tensor, entropy_weight: float = 0.0
) -> tuple[Tensor, Float[Tensor, " B"]]:
    """Minus the mean of (sum_t w_t r_t + w_H min_i V_i(z_H)) / scale, w_t the discounts before t.

    Returns the loss and the detached unscaled returns [B] (PWM eq. 7). With an `entropy_weight`
    the actor is also paid that much reward for every nat of its actions' entropy (Haarnoja et al.
    2018, eq. 1); in units of reward, so that it pales where much is to be gained.
    """
    weights = imagined.discounts.cumprod(0)
    terminal = weights[-1] * critic.minimum(imagined.latents[-1], imagined.e)
    returns = imagined.rewards[0] + (weights[:-1] * imagined.rewards[1:]).sum(0) + terminal
    bonus = imagined.entropy[0] + (weights[:-1] * imagined.entropy[1:]).sum(0)
    return -(returns + entropy_weight * bonus).mean() / scale, returns.detach()


def entropy(
    pre_tanh: Float[Tensor, "*H B A"],
    std: Float[Tensor, " A"],
    action_mask: Float[Tensor, "B A"],
) -> Float[Tensor, "*H B"]:
    """Of tanh(x) for normal x of this `std`, in nats, over a task's own components.

    A sample's estimate, its normal part exact: log std + log(2 pi e) / 2 + log(1 - tanh(x)^2)
    (Haarnoja et al. 2018, appendix C). The last term's slope does not fade where tanh is flat, so
    a policy that was driven there by a young model can come back. For a flow policy `std` is that
    of the noise it starts from: what the flow does to it is not counted.
    """
    log_slope = 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
    normal = std.log() + math.log(2 * math.pi * math.e) / 2
    return ((log_slope + normal) * action_mask).sum(-1)


@torch.no_grad()
def critic_targets(imagined: Imagined, critic: Critic, lam: float) -> CriticBatch:
    """Latents, embeddings and TD(lambda) targets, flattened over time and batch (N = H B)."""
    values = critic.minimum(imagined.latents, imagined.e)
    targets = td_lambda(imagined.rewards, values, imagined.discounts, lam)
    e = imagined.e.expand(len(targets), -1, -1)
    return CriticBatch(
        imagined.latents[:-1].detach().flatten(0, 1), e.detach().flatten(0, 1), targets.flatten()
    )


def critic_loss(critic: Critic, batch: CriticBatch) -> Tensor:
    """Squared error, averaged over states and members."""
    return (critic(batch.latents, batch.e) - batch.targets).square().mean()
