"""A ring of transitions, one lane an environment, and uniform sampling of sequences from it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from flowpwm.experience import Sequences


class Buffer:
    """Keeps the newest `capacity` transitions of `num_envs` environments stepped in lockstep.

    `next_obs` is stored beside `obs`, so the last observation of an episode is kept too.
    """

    FIELDS = ("obs", "next_obs", "action", "reward", "terminated", "end")

    def __init__(
        self,
        capacity: int,
        obs_dim: int,
        action_dim: int,
        task: Int64[Tensor, " B"],
    ):
        num_envs, device = len(task), task.device
        self.task = task  # of each environment
        self.rows = capacity // num_envs
        if self.rows < 1:
            raise ValueError(f"capacity {capacity} holds no step of {num_envs} environments")
        self.num_envs, self.device = num_envs, device

        def ring(*dims: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(self.rows, num_envs, *dims, dtype=dtype, device=device)

        self.obs, self.next_obs = ring(obs_dim), ring(obs_dim)
        self.action, self.reward = ring(action_dim), ring()
        self.terminated, self.end = ring(dtype=torch.bool), ring(dtype=torch.bool)
        self.head = 0  # the row that is written next
        self.filled = 0  # rows that hold data

    def __len__(self) -> int:
        """Transitions held."""
        return self.filled * self.num_envs

    def add(
        self,
        obs: Float[Tensor, "B O"],
        action: Float[Tensor, "B A"],
        reward: Float[Tensor, " B"],
        next_obs: Float[Tensor, "B O"],
        terminated: Bool[Tensor, " B"],
        end: Bool[Tensor, " B"],
    ) -> None:
        """Write one step of every environment.

        `end` marks the last step of an episode, `terminated` one that has no future.
        """
        row = self.head
        self.obs[row], self.next_obs[row] = obs, next_obs
        self.action[row], self.reward[row] = action, reward
        self.terminated[row], self.end[row] = terminated, end
        self.head = (row + 1) % self.rows
        self.filled = min(self.filled + 1, self.rows)

    def cut(self) -> None:
        """End every episode at its newest step: what is added next belongs to other episodes."""
        self.end[self.head - 1] = True

    def sample(self, batch: int, horizon: int, generator: torch.Generator) -> Sequences:
        """`batch` sequences of up to `horizon` steps, their starts uniform over all transitions.

        Steps after an episode's end or past the newest transition are masked, so neither is
        crossed and short episodes contribute what they have.
        """
        age, env = self._starts(batch, generator)
        steps = torch.arange(horizon, device=self.device).unsqueeze(-1)
        present = age + steps < self.filled
        oldest = self.head - self.filled
        row = (oldest + age + steps) % self.rows
        ended_before = self.end[row, env].int().cumsum(0) - self.end[row, env].int() > 0
        obs = torch.cat([self.obs[row[:1], env], self.next_obs[row, env]])
        return Sequences(
            obs=obs,
            action=self.action[row, env],
            reward=self.reward[row, env],
            terminated=self.terminated[row, env],
            mask=present & ~ended_before,
            task=self.task[env],
        )

    def sample_obs(
        self, batch: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B O"], Int64[Tensor, " B"]]:
        """`batch` stored observations, uniformly, and their task ids."""
        age, env = self._starts(batch, generator)
        return self.obs[(self.head - self.filled + age) % self.rows, env], self.task[env]

    def _starts(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.filled == 0:
            raise ValueError("cannot sample from an empty buffer")

        def draw(high: int) -> Tensor:
            return torch.randint(high, (batch,), generator=generator, device=self.device)

        return draw(self.filled), draw(self.num_envs)

    def state_dict(self) -> dict[str, Any]:
        """The rows that hold data, and where the next goes."""
        held = {name: getattr(self, name)[: self.filled].clone() for name in self.FIELDS}
        return held | {"head": self.head, "filled": self.filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.head, self.filled = state["head"], state["filled"]
        for name in self.FIELDS:
            getattr(self, name)[: self.filled] = state[name]
