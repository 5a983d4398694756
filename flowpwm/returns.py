"""Returns of imagined rollouts: TD(lambda) targets and a running scale."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def td_lambda(
    reward: Float[Tensor, "H B"],
    value: Float[Tensor, "T B"],
    discount: Float[Tensor, "H B"],
    lam: float,
) -> Float[Tensor, "H B"]:
    """G_t = r_t + discount_t ((1 - lam) V_{t+1} + lam G_{t+1}), with G_H = V_H and T = H + 1.

    Sutton & Barto 2018, eq. 12.2 in its recursive form; the discount of a step that ended its
    episode is 0.
    """
    target = value[-1]
    targets = []
    for t in reversed(range(len(reward))):
        target = reward[t] + discount[t] * ((1 - lam) * value[t + 1] + lam * target)
        targets.append(target)
    return torch.stack(targets[::-1])


class RunningScale:
    """A running standard deviation to divide by. It never shifts: 0 stays 0, dying stays dying."""

    def __init__(self, decay: float = 0.99, minimum: float = 1e-2):
        self.decay, self.minimum = decay, minimum
        self.mean, self.square, self.weight = 0.0, 0.0, 0.0

    def update(self, x: Tensor) -> None:
        """Take a batch into the exponential average of its first two moments."""
        keep = self.decay
        self.mean = keep * self.mean + (1 - keep) * float(x.mean())
        self.square = keep * self.square + (1 - keep) * float(x.square().mean())
        self.weight = keep * self.weight + (1 - keep)

    @property
    def std(self) -> float:
        """The running standard deviation, at least `minimum`; 1 before the first batch."""
        if self.weight == 0.0:
            return 1.0
        mean = self.mean / self.weight
        return max(self.minimum, max(0.0, self.square / self.weight - mean**2) ** 0.5)

    def state_dict(self) -> dict[str, float]:
        """The averages, for a checkpoint."""
        return {"mean": self.mean, "square": self.square, "weight": self.weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        self.mean, self.square, self.weight = state["mean"], state["square"], state["weight"]
