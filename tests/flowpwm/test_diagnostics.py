"""What is said of a world model: against one that stands still, and only where there is data."""

import pytest
import torch

from flowpwm.diagnostics import model_metrics
from tests.flowpwm.test_world_models import build, linear_system


def test_a_model_that_stands_still_has_the_error_of_standing_still() -> None:
    metrics = model_metrics(build("flow"), linear_system(32))
    assert metrics["model/latent_error_1"] == pytest.approx(1.0, rel=1e-4)
    assert metrics["model/latent_error_h"] == pytest.approx(1.0, rel=1e-4)


def test_rewards_that_are_decoded_as_0_miss_by_their_size_and_correlate_with_nothing() -> None:
    data = linear_system(32)
    metrics = model_metrics(build("mlp"), data)
    assert metrics["model/reward_error"] == pytest.approx(float(data.reward.abs().mean()), rel=1e-4)
    assert "model/reward_correlation" not in metrics
    last = float(data.reward[-1].abs().mean())
    assert metrics["model/reward_error_h"] == pytest.approx(last, rel=1e-4)


def test_movement_is_the_step_of_latents_relative_to_their_spread() -> None:
    model, data = build("mlp"), linear_system(32)
    metrics = model_metrics(model, data)
    with torch.no_grad():
        z = model.encode(data.obs, model.embed(data.task)).double()
    step = (z[1:] - z[:-1]).square().mean().sqrt()
    spread = z[:-1].flatten(0, 1).std(0).square().mean().sqrt()
    assert metrics["model/latent_spread"] == pytest.approx(float(spread), rel=1e-4)
    assert metrics["model/latent_movement"] == pytest.approx(float(step / spread), rel=1e-4)


def test_masked_steps_say_nothing() -> None:
    model, data = build("flow"), linear_system(32)
    torch.nn.init.normal_(model.reward_head[-1].weight)
    mask = data.mask.clone()
    mask[5:, ::2] = False
    obs, reward = data.obs.clone(), data.reward.clone()
    obs[6:, ::2], reward[5:, ::2] = 1e3, 1e3
    clean = model_metrics(model, data._replace(mask=mask))
    assert model_metrics(model, data._replace(mask=mask, obs=obs, reward=reward)) == clean
    mask[5:] = False  # no sequence is whole: there is no H-step error
    short = model_metrics(model, data._replace(mask=mask))
    assert not {"model/latent_error_h", "model/reward_error_h"} & short.keys()
