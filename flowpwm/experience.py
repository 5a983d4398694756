"""What training samples from, be it a replay buffer or a dataset on disk."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Sequences(NamedTuple):
    """H transitions of B environments in a row, hence T = H + 1 observations; time first.

    `mask` is False from the first step after an episode's end or the newest stored transition on.
    `terminated` marks a step whose end state has no future; `task` is the id in the task set.
    """

    obs: Float[Tensor, "T B O"]
    action: Float[Tensor, "H B A"]
    reward: Float[Tensor, "H B"]
    terminated: Bool[Tensor, "H B"]
    mask: Bool[Tensor, "H B"]
    task: Int64[Tensor, " B"]

    def split(self, parts: int) -> list[Sequences]:
        """The same sequences in `parts` smaller batches."""
        along_batch = [x.chunk(parts, dim=-1 if x.ndim < 3 else 1) for x in self]
        return [Sequences(*fields) for fields in zip(*along_batch, strict=True)]


class Experience(Protocol):
    """Transitions to draw from, uniformly over all valid start transitions."""

    def sample(self, batch: int, horizon: int, generator: torch.Generator) -> Sequences:
        """`batch` sequences of up to `horizon` steps."""
        ...

    def sample_obs(
        self, batch: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B O"], Int64[Tensor, " B"]]:
        """`batch` observations in which an action was taken, and their task ids."""
        ...

    def __len__(self) -> int:
        """Transitions held."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...
