"""A ring of transitions, one lane an environment, and uniform sampling of sequences from it."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from flowpwm.experience import Sequences
from flowpwm.upload import upload


class Buffer:
    """Keeps the newest `capacity` transitions of `num_envs` environments stepped in lockstep.

    `next_obs` is stored beside `obs`, so the last observation of an episode is kept too. All
    fields of a transition lie side by side in one record: writing a step is one row, and sampling
    gathers once, wherever the buffer is.
    """

    FIELDS = ("obs", "next_obs", "action", "reward", "terminated", "end")
    FLAGS = ("terminated", "end")  # kept as 0 and 1 among the numbers

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
        edges = list(accumulate((obs_dim, obs_dim, action_dim, 1, 1, 1), initial=0))
        places = (slice(*edge) for edge in pairwise(edges))
        self._at: dict[str, slice] = dict(zip(self.FIELDS, places, strict=True))
        self.records = torch.zeros(self.rows, num_envs, edges[-1], device=device)
        # The same memory, where it is the host's: numpy writes a row in a tenth of torch's time.
        self._host = self.records.numpy() if device.type == "cpu" else None
        self.head = 0  # the row that is written next
        self.filled = 0  # rows that hold data

    def __len__(self) -> int:
        """Transitions held."""
        return self.filled * self.num_envs

    def field(self, name: str) -> Tensor:
        """One of FIELDS of all rows, [rows, B, ...]: what is stored where it is a number."""
        return self._field(self.records, name)

    def add(
        self,
        obs: Float[np.ndarray, "B O"],
        action: Float[np.ndarray, "B A"],
        reward: Float[np.ndarray, " B"],
        next_obs: Float[np.ndarray, "B O"],
        terminated: Bool[np.ndarray, " B"],
        end: Bool[np.ndarray, " B"],
    ) -> None:
        """Write one step of every environment.

        `end` marks the last step of an episode, `terminated` one that has no future.
        """
        row = self.head
        record = (
            np.empty(self.records.shape[1:], dtype=np.float32)
            if self._host is None
            else self._host[row]
        )
        at = self._at
        record[:, at["obs"]], record[:, at["next_obs"]] = obs, next_obs
        record[:, at["action"]] = action
        for name, value in (("reward", reward), ("terminated", terminated), ("end", end)):
            record[:, at[name].start] = value
        if self._host is None:
            self.records[row] = upload(record, self.device)
        self.head = (row + 1) % self.rows
        self.filled = min(self.filled + 1, self.rows)

    def cut(self) -> None:
        """End every episode at its newest step: what is added next belongs to other episodes."""
        self.records[self.head - 1, :, self._at["end"]] = 1.0

    def sample(self, batch: int, horizon: int, generator: torch.Generator) -> Sequences:
        """`batch` sequences of up to `horizon` steps, their starts uniform over all transitions.

        Steps after an episode's end or past the newest transition are masked, so neither is
        crossed and short episodes contribute what they have.
        """
        age, env = self._starts(batch, generator)
        steps = torch.arange(horizon, device=self.device).unsqueeze(-1)
        present = age + steps < self.filled
        records = self._gather(age + steps, env)
        end = self._field(records, "end")
        ended_before = end.cumsum(0) - end.float() > 0
        obs, next_obs = self._field(records, "obs"), self._field(records, "next_obs")
        return Sequences(
            obs=torch.cat([obs[:1], next_obs]),
            action=self._field(records, "action"),
            reward=self._field(records, "reward"),
            terminated=self._field(records, "terminated"),
            mask=present & ~ended_before,
            task=self.task[env],
        )

    def sample_obs(
        self, batch: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B O"], Int64[Tensor, " B"]]:
        """`batch` stored observations, uniformly, and their task ids."""
        age, env = self._starts(batch, generator)
        return self._field(self._gather(age, env), "obs"), self.task[env]

    def _starts(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.filled == 0:
            raise ValueError("cannot sample from an empty buffer")

        age, env = (
            torch.randint(high, (batch,), generator=generator, device=self.device)
            for high in (self.filled, self.num_envs)
        )
        return age, env

    def _gather(self, age: Int64[Tensor, "*H B"], env: Int64[Tensor, " B"]) -> Tensor:
        """The records `age` rows after the oldest, [*H, B, fields]."""
        row = (self.head - self.filled + age) % self.rows
        index = row * self.num_envs + env
        return self.records.flatten(0, 1).index_select(0, index.flatten()).unflatten(0, index.shape)

    def _field(self, records: Tensor, name: str) -> Tensor:
        value = records[..., self._at[name]]
        if name in self.FLAGS:
            return value.squeeze(-1) > 0
        return value.squeeze(-1) if name == "reward" else value

    def state_dict(self) -> dict[str, Any]:
        """The rows that hold data, and where the next goes."""
        held = self.records[: self.filled]
        fields = {name: self._field(held, name).clone() for name in self.FIELDS}
        return fields | {"head": self.head, "filled": self.filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.head, self.filled = state["head"], state["filled"]
        for name in self.FIELDS:
            held = self.records[: self.filled, :, self._at[name]]
            held.copy_(state[name].view(held.shape))
