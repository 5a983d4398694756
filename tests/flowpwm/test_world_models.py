"""The contract of every listed world model; then what is special to the flow."""

import dataclasses

import pytest
import torch

from flowpwm import twohot
from flowpwm.world_models import WORLD_MODELS, Sequences, WorldModel, make_world_model
from flowpwm.world_models.flow import (
    RETRACTIONS,
    TAU_SAMPLING,
    FlowWorldModel,
    FlowWorldModelConfig,
    to_simplex,
    to_tangent,
)

OBS, ACT, H = 3, 2, 8


def small(kind: str, **changes: object):
    config = WORLD_MODELS[kind].config(latent_dim=32, encoder_units=(64,), units=(64, 64))
    return dataclasses.replace(config, **changes)


def build(kind: str, **changes: object) -> WorldModel:
    torch.manual_seed(0)
    return make_world_model(small(kind, **changes), OBS, ACT)


def linear_system(batch: int, seed: int = 0, horizon: int = H) -> Sequences:
    """A damped rotation pushed by the action; reward: the first coordinate plus an action term."""
    generator = torch.Generator().manual_seed(seed)
    obs = [torch.randn(batch, OBS, generator=generator)]
    action = torch.rand(horizon, batch, ACT, generator=generator) * 2 - 1
    turn = torch.tensor([[0.9, 0.3, 0.0], [-0.3, 0.9, 0.1], [0.0, -0.1, 0.9]])
    push = torch.tensor([[0.3, 0.0, 0.2], [0.0, 0.3, -0.1]])
    for a in action:
        obs.append(obs[-1] @ turn + a @ push)
    path = torch.stack(obs)
    reward = path[:-1, :, 0] + 0.5 * action[..., 0]
    return Sequences(path, action, reward, torch.ones(horizon, batch, dtype=torch.bool))


def fixed_transitions() -> Sequences:
    return linear_system(64, seed=10_000, horizon=4)


@pytest.fixture(scope="module", params=WORLD_MODELS)
def fitted(request: pytest.FixtureRequest) -> tuple[str, WorldModel]:
    """A model of each kind after a few hundred updates on fixed transitions."""
    model = build(request.param)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 800)
    generator = torch.Generator().manual_seed(0)
    for _ in range(800):
        loss, _ = model.loss(fixed_transitions(), generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimiser.step()
        schedule.step()
    return request.param, model


def test_it_learns_transitions_far_better_than_standing_still(
    fitted: tuple[str, WorldModel],
) -> None:
    _, model = fitted
    data = fixed_transitions()
    with torch.no_grad():
        z = model.encode(data.obs)
        error = (model.next(z[:-1], data.action) - z[1:]).square().mean()
        still = (z[1:] - z[:-1]).square().mean()
    assert error < 0.05 * still


def test_its_encoder_does_not_collapse(fitted: tuple[str, WorldModel]) -> None:
    _, model = fitted
    data = fixed_transitions()
    with torch.no_grad():
        z = model.encode(data.obs)
    movement = (z[1:] - z[:-1]).square().mean().sqrt()
    spread = z[:-1].flatten(0, 1).std(0).square().mean().sqrt()
    assert movement > 0.2 * spread
    assert spread > 1e-3


def test_its_reward_head_decodes_what_its_own_loss_trained(
    fitted: tuple[str, WorldModel],
) -> None:
    _, model = fitted
    data = fixed_transitions()
    with torch.no_grad():
        decoded = twohot.decode(model.reward_logits(model.encode(data.obs[:-1]), data.action))
    pair = torch.stack([decoded.flatten(), data.reward.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.95


def test_the_gradient_of_reward_reaches_the_first_action(fitted: tuple[str, WorldModel]) -> None:
    _, model = fitted
    data = fixed_transitions()
    action = data.action.clone().requires_grad_()
    path = model.rollout(model.encode(data.obs[0]).detach(), action)
    reward = twohot.decode(model.reward_logits(path[-2], action[-1])).sum()
    (gradient,) = torch.autograd.grad(reward, action)
    assert gradient[0].abs().max() > 1e-6
    # The immediate reward knows of its own action: the truth is 0.5 for the first component.
    first = twohot.decode(model.reward_logits(path[0].detach(), action[1])).sum()
    (gradient,) = torch.autograd.grad(first, action)
    assert float(gradient[1, :, 0].mean()) == pytest.approx(0.5, abs=0.15)


def test_latents_stay_on_their_simplices_over_sixteen_steps(
    fitted: tuple[str, WorldModel],
) -> None:
    _, model = fitted
    with torch.no_grad():
        z = model.rollout(model.encode(5 * torch.randn(32, OBS)), torch.randn(16, 32, ACT))
    assert (z.unflatten(-1, (-1, 8)).sum(-1) - 1).abs().max() < 1e-5
    assert (z >= 0).all()


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_masked_steps_do_not_touch_the_loss(kind: str) -> None:
    model = build(kind)
    data = linear_system(16)
    mask = data.mask.clone()
    mask[5:] = False
    garbage = data.obs.clone()
    garbage[6:] = 1e3
    one, _ = model.loss(data._replace(mask=mask), torch.Generator().manual_seed(0))
    two, _ = model.loss(data._replace(mask=mask, obs=garbage), torch.Generator().manual_seed(0))
    assert torch.equal(one, two)


def test_flow_and_mlp_dynamics_have_equal_parameters_within_a_percent() -> None:
    for units, latent in (((512, 512), 512), ((1792, 1792), 768), ((128, 128), 64)):
        counts = [
            make_world_model(
                dataclasses.replace(small(kind), units=units, latent_dim=latent), 37, 8
            ).dynamics_parameters()
            for kind in ("mlp", "flow")
        ]
        assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_an_untrained_flow_stands_still() -> None:
    model = build("flow")
    z = model.encode(torch.randn(4, OBS))
    assert torch.allclose(model.next(z, torch.randn(4, ACT)), z, atol=1e-6)


def test_the_velocity_can_point_both_ways_inside_the_tangent_space() -> None:
    """A SimNorm head could not: its output is positive and sums to 1 in every group."""
    model = build("flow")
    assert isinstance(model, FlowWorldModel)
    torch.nn.init.normal_(model.velocity_head[-1].weight)
    v = model.velocity(torch.rand(16, 32), torch.randn(16, ACT), torch.rand(16, 1))
    assert v.min() < 0 < v.max()
    assert v.unflatten(-1, (-1, 8)).sum(-1).abs().max() < 1e-4


def test_flow_matching_falls_far_below_the_floor_of_a_simnorm_head() -> None:
    """A head that is positive and sums to 1 in every group misses z1 - z0 by 1 a group at least:
    their sums differ by 1, so the squared error is 1/8 a group or more, 1/64 an entry."""
    model = build("flow")
    assert isinstance(model, FlowWorldModel)
    generator = torch.Generator().manual_seed(0)
    z0 = torch.softmax(3 * torch.randn(256, 4, 8, generator=generator), -1).flatten(1)
    z1 = torch.roll(z0.view(256, 4, 8), 1, dims=-1).flatten(1)
    action = torch.randn(256, ACT, generator=generator)
    optimiser = torch.optim.Adam(model.velocity_head.parameters(), lr=3e-3)
    for _ in range(600):
        loss = model.flow_matching_error(z0, z1, action, generator).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 / 64


def test_flow_matching_sends_no_gradient_into_the_encoder() -> None:
    """With gradients through the path's ends the cheapest fit is a latent that never moves."""
    model = build("flow", wm_rollout_weight=0.0, reconstruction_weight=0.0, reward_weight=1e-9)
    torch.nn.init.normal_(model.velocity_head[-1].weight)
    loss, _ = model.loss(linear_system(16), torch.Generator().manual_seed(0))
    loss.backward()
    assert model.encoder[0].weight.grad.abs().max() < 1e-7
    assert model.velocity_head[0].weight.grad.abs().max() > 1e-6


def test_teacher_forced_flow_matching_costs_the_same_for_every_substeps() -> None:
    calls = {}
    for substeps in (1, 8):
        model = build("flow", wm_rollout_weight=0.0, substeps=substeps, integrator="rk4")
        count = []
        model.velocity_head.register_forward_hook(lambda *_, count=count: count.append(1))
        model.loss(linear_system(4), torch.Generator().manual_seed(0))
        calls[substeps] = len(count)
    assert calls == {1: 1, 8: 1}


@pytest.mark.parametrize("consistency", ["teacher_forced", "rollout"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_every_consistency_trains_the_velocity(consistency: str, weight: float) -> None:
    model = build("flow", consistency=consistency, wm_rollout_weight=weight)
    loss, parts = model.loss(linear_system(8), torch.Generator().manual_seed(0))
    loss.backward()
    assert model.velocity_head[-1].weight.grad.abs().max() > 0
    assert ("rollout" in parts) == (weight > 0)


@pytest.mark.parametrize("name", TAU_SAMPLING)
def test_tau_lies_in_the_unit_interval_around_a_half(name: str) -> None:
    tau = TAU_SAMPLING[name]((4000, 1), torch.Generator().manual_seed(0))
    assert tau.shape == (4000, 1)
    assert tau.min() >= 0 and tau.max() <= 1
    assert float(tau.mean()) == pytest.approx(0.5, abs=0.02)


def test_the_projection_onto_the_simplex_worked_by_hand() -> None:
    z = torch.tensor([[0.8, 0.6, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])
    # Two entries stay: 0.8 and 0.6 less (0.8 + 0.6 - 1) / 2 = 0.2.
    expected = torch.tensor([[0.6, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(to_simplex(z), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["simplex", "rescale"])
def test_a_retraction_leaves_points_of_the_simplex_where_they_are(name: str) -> None:
    z = torch.softmax(torch.randn(10, 4, 8), -1).flatten(1)
    assert torch.allclose(RETRACTIONS[name](z), z, atol=1e-6)
    moved = RETRACTIONS[name](z + to_tangent(torch.randn(10, 32)))
    assert (moved >= 0).all()
    assert torch.allclose(moved.view(10, 4, 8).sum(-1), torch.ones(10, 4), atol=1e-5)


def test_unknown_options_of_a_flow_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"unknown world_model.integrator 'huen'.*Did you mean 'heun'"
    ):
        FlowWorldModelConfig(integrator="huen")
    with pytest.raises(ValueError, match="substeps must be at least 1, got 0"):
        FlowWorldModelConfig(substeps=0)
    with pytest.raises(ValueError, match="multiple of 8"):
        FlowWorldModelConfig(latent_dim=20)
