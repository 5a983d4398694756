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
    """A running standard deviation to divide by. It never shifts: 0 stays 0, dying stays dying.

    Kept where the returns are: to look at them would make a GPU's host wait.
    """

    def __init__(
        self,
        decay: float = 0.99,
        minimum: float = 1e-2,
        device: torch.device | str = "cpu",
    ):
        self.decay, self.minimum = decay, minimum
        # mean, mean square, and the weight that both have gathered
        self.moments = torch.zeros(3, dtype=torch.float64, device=device)

    def update(self, x: Tensor) -> None:
        """Take a batch into the exponential average of its first two moments."""
        batch = torch.stack([x.mean(), x.square().mean(), torch.ones_like(x[0])]).double()
        self.moments = self.decay * self.moments + (1 - self.decay) * batch

    @property
    def std(self) -> Float[Tensor, ""]:
        """The running standard deviation, at least `minimum`; 1 before the first batch."""
        mean, square, weight = self.moments
        variance = square / weight - (mean / weight) ** 2
        std = variance.clamp_min(0.0).sqrt().clamp_min(self.minimum)
        return torch.where(weight > 0, std, torch.ones_like(std))

    def state_dict(self) -> dict[str, float]:
        """The averages, for a checkpoint."""
        return dict(zip(("mean", "square", "weight"), self.moments.tolist(), strict=True))

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        values = [state[name] for name in ("mean", "square", "weight")]
        self.moments = torch.tensor(values, dtype=torch.float64, device=self.moments.device)
