"""How good a world model is, on real sequences: numbers that a loss does not show."""

from __future__ import annotations

import torch

from flowpwm import twohot
from flowpwm.world_models import Sequences, WorldModel


@torch.no_grad()
def model_metrics(model: WorldModel, sequences: Sequences) -> dict[str, float]:
    """Latent errors relative to standing still, latent movement, and reward prediction.

    Those that end in _h are of the last step of the model's own rollout over the whole sequence;
    sequences that end before are left out. A movement near 0 with a small latent error is a
    collapsed encoder, not a good model.
    """
    e = model.embed(sequences.task)
    latents = model.encode(sequences.obs, e)
    mask = sequences.mask
    whole = mask[-1]  # sequences that run their full length

    def mean_square(x: torch.Tensor, where: torch.Tensor) -> float:
        return float((x.square().mean(-1) * where).sum() / where.sum().clamp_min(1))

    moved = mean_square(latents[1:] - latents[:-1], mask)
    spread = float(latents[:-1][mask].std(0).square().mean().sqrt())
    one_step = model.next(latents[:-1], e, sequences.action)
    rolled = model.rollout(latents[0], e, sequences.action)
    decoded = twohot.decode(model.reward_logits(latents[:-1], e, sequences.action))[mask]
    reward = sequences.reward[mask]
    metrics = {
        "model/latent_error_1": mean_square(one_step - latents[1:], mask) / max(moved, 1e-12),
        "model/latent_movement": moved**0.5 / max(spread, 1e-6),
        "model/latent_spread": spread,
        "model/reward_error": float((decoded - reward).abs().mean()),
    }
    if whole.any():
        still = mean_square(latents[-1] - latents[0], whole)
        error = mean_square(rolled[-1] - latents[-1], whole)
        metrics["model/latent_error_h"] = error / max(still, 1e-12)
        before = torch.cat([latents[:1], rolled])[-2]
        foreseen = twohot.decode(model.reward_logits(before, e, sequences.action[-1]))
        metrics["model/reward_error_h"] = float(
            (foreseen - sequences.reward[-1])[whole].abs().mean()
        )
    if len(reward) > 1 and float(reward.std()) > 0 and float(decoded.std()) > 0:
        metrics["model/reward_correlation"] = float(
            torch.corrcoef(torch.stack([decoded, reward]))[0, 1]
        )
    return metrics
