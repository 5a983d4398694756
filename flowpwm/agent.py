"""What acts: a world model's encoder, a policy, and the critic that trained it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flowpwm.config import RunConfig
from flowpwm.critic import Critic
from flowpwm.envs import spec
from flowpwm.networks import count_parameters
from flowpwm.policies import make_policy
from flowpwm.world_models import make_world_model


class Agent(nn.Module):
    """The networks of one run, sized by its task."""

    def __init__(self, config: RunConfig):
        super().__init__()
        task = spec(config.task)
        latent_dim = config.world_model.latent_dim
        self.world_model = make_world_model(config.world_model, task.obs_dim, task.action_dim)
        self.policy = make_policy(config.policy, latent_dim, task.action_dim)
        self.critic = Critic(config.critic, latent_dim)

    @staticmethod
    def seeded(config: RunConfig) -> Agent:
        """Networks initialised from `config.seed`, leaving the global random state untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return Agent(config).to(config.device)

    @torch.no_grad()
    def act(
        self, obs: Float[np.ndarray, "B O"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "B A"]:
        """Actions for real observations; deterministic without a generator."""
        device = self.policy.log_std.device
        z = self.world_model.encode(torch.as_tensor(obs, device=device))
        return self.policy(z, None if generator is None else self.policy.noise(z, generator))

    def parameter_counts(self) -> dict[str, int]:
        """True trainable parameters of every part, and their total."""
        model = self.world_model
        parts = {
            "encoder": count_parameters(model.encoder),
            "dynamics": model.dynamics_parameters(),
            "reward": count_parameters(model.reward_head),
            "decoder": count_parameters(model.decoder),
            "policy": count_parameters(self.policy),
            "critic": count_parameters(self.critic),
        }
        return parts | {"total": sum(parts.values())}
