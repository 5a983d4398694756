"""What acts: a world model's encoder, a policy, and the critic that trained it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from flowpwm.config import RunConfig
from flowpwm.critic import Critic
from flowpwm.networks import count_parameters
from flowpwm.policies import make_policy
from flowpwm.upload import upload
from flowpwm.world_models import make_world_model


class Agent(nn.Module):
    """The networks of one run, sized by its world model's tasks."""

    action_mask: Tensor  # [N, A], 1 where a task has the component

    def __init__(self, config: RunConfig):
        super().__init__()
        self.tasks = config.covered_tasks
        context_dim = config.world_model.latent_dim + config.world_model.task_dim
        self.world_model = make_world_model(config.world_model, self.tasks)
        self.world_model.recompute = config.recompute
        self.policy = make_policy(config.policy, context_dim, self.tasks.action_dim)
        self.critic = Critic(config.critic, context_dim)
        mask = torch.as_tensor(self.tasks.action_mask(), dtype=torch.float32)
        self.register_buffer("action_mask", mask, persistent=False)

    @staticmethod
    def seeded(config: RunConfig) -> Agent:
        """Networks initialised from `config.seed`, leaving the global random state untouched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return Agent(config).to(config.device)

    @torch.no_grad()
    def act(
        self,
        obs: Float[np.ndarray, "B O"],
        task: Int64[Tensor, " B"],
        noise: Float[Tensor, "B A"] | None = None,
    ) -> Float[Tensor, "B A"]:
        """Actions for real observations of tasks; deterministic without standard-normal `noise`.

        Observations are padded to the widest task, and so are the actions.
        """
        e = self.world_model.embed(task)
        z = self.world_model.encode(upload(obs, e.device).to(e.dtype), e)
        return torch.tanh(self.policy.pre_tanh(z, e, noise) * self.action_mask[task])

    def parameter_counts(self) -> dict[str, int]:
        """True trainable parameters of every part, and their total."""
        model = self.world_model
        parts = {
            "embedding": count_parameters(model.embedding),
            "encoder": count_parameters(model.encoder),
            "dynamics": model.dynamics_parameters(),
            "reward": count_parameters(model.reward_head),
            "decoder": count_parameters(model.decoder) if model.decoder else 0,
            "inverse": count_parameters(model.inverse_head) if model.inverse_head else 0,
            "continuation": (
                count_parameters(model.continuation_head) if model.continuation_head else 0
            ),
            "policy": count_parameters(self.policy),
            "critic": count_parameters(self.critic),
        }
        return parts | {"total": sum(parts.values())}
