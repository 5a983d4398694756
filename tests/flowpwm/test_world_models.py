"""The contract of every listed world model; then what is special to the flow."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from flowpwm import twohot
from flowpwm.world_models import WORLD_MODELS, Sequences, WorldModel, make_world_model
from flowpwm.world_models.base import REWARD_LOSSES
from flowpwm.world_models.charts import CHARTS, RETRACTIONS, to_simplex, to_tangent
from flowpwm.world_models.flow import TAU_SAMPLING, FlowWorldModel, FlowWorldModelConfig
from tests.flowpwm.tiny import one_task, tasks_of

OBS, ACT, H = 3, 2, 8


def small(kind: str, **changes: object):
    config = WORLD_MODELS[kind].config(latent_dim=32, encoder_units=(64,), units=(64, 64))
    return dataclasses.replace(config, **changes)


def build(kind: str, **changes: object) -> WorldModel:
    torch.manual_seed(0)
    return make_world_model(small(kind, **changes), tasks_of((OBS, ACT)))


def loss_of(
    model: WorldModel, data: Sequences, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of a whole batch, as training asks for it."""
    generator = generator or torch.Generator().manual_seed(0)
    noise = model.draw(*data.reward.shape, generator)
    return model.loss(data, model.step_weights(data.mask), noise)


# Of a single task: nothing tells it from others.
NO_TASK = torch.zeros(1, 0)


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
    return Sequences(
        obs=path,
        action=action,
        reward=reward,
        terminated=torch.zeros(horizon, batch, dtype=torch.bool),
        mask=torch.ones(horizon, batch, dtype=torch.bool),
        task=one_task(batch),
    )


def fixed_transitions() -> Sequences:
    return linear_system(64, seed=10_000, horizon=4)


def fit(model: WorldModel, updates: int = 800) -> WorldModel:
    """A few hundred updates on fixed transitions."""
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    generator = torch.Generator().manual_seed(0)
    data = fixed_transitions()
    for _ in range(updates):
        loss, _ = loss_of(model, data, generator)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimiser.step()
        schedule.step()
    return model


@pytest.fixture(scope="module", params=WORLD_MODELS)
def fitted(request: pytest.FixtureRequest) -> tuple[str, WorldModel]:
    """A model of each kind that has learned."""
    return request.param, fit(build(request.param), 400 if request.param == "flow" else 800)


@pytest.mark.slow
def test_it_learns_transitions_far_better_than_standing_still(
    fitted: tuple[str, WorldModel],
) -> None:
    _, model = fitted
    data = fixed_transitions()
    with torch.no_grad():
        z = model.encode(data.obs, NO_TASK)
        error = (model.next(z[:-1], NO_TASK, data.action) - z[1:]).square().mean()
        still = (z[1:] - z[:-1]).square().mean()
    assert error < 0.05 * still


def test_its_encoder_does_not_collapse(fitted: tuple[str, WorldModel]) -> None:
    _, model = fitted
    data = fixed_transitions()
    with torch.no_grad():
        z = model.encode(data.obs, NO_TASK)
    movement = (z[1:] - z[:-1]).square().mean().sqrt()
    spread = z[:-1].flatten(0, 1).std(0).square().mean().sqrt()
    assert movement > 0.2 * spread
    assert spread > 1e-3


def decoded_rewards(model: WorldModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the fixed transitions, [H, B], and their slope in the actions, [H, B, A]."""
    data = fixed_transitions()
    action = data.action.clone().requires_grad_()
    z = model.encode(data.obs[:-1], NO_TASK).detach()
    decoded = twohot.decode(model.reward_logits(z, NO_TASK, action))
    (slope,) = torch.autograd.grad(decoded.sum(), action)
    return decoded.detach(), slope


def test_its_reward_head_decodes_what_its_own_loss_trained(
    fitted: tuple[str, WorldModel],
) -> None:
    decoded, _ = decoded_rewards(fitted[1])
    pair = torch.stack([decoded.flatten(), fixed_transitions().reward.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.95


def test_regressing_every_logit_to_the_reward_leaves_the_actor_blind(
    fitted: tuple[str, WorldModel],
) -> None:
    """The ablation: its loss falls, and yet it decodes the same reward everywhere."""
    kind, sighted = fitted
    blind = build(kind, reward_loss="mse_broadcast")
    _, before = loss_of(blind, fixed_transitions())
    fit(blind, 100)
    _, after = loss_of(blind, fixed_transitions())
    assert after["reward"] < 0.7 * before["reward"]
    truth = float(fixed_transitions().reward.std())
    for model, sees in ((blind, False), (sighted, True)):
        decoded, slope = decoded_rewards(model)
        assert (float(decoded.std()) > 0.5 * truth) == sees
        assert (float(slope.abs().max()) > 0.1) == sees
        assert sees or (decoded.std() < 1e-5 and slope.abs().max() < 1e-5)


def test_the_gradient_of_reward_reaches_the_first_action(fitted: tuple[str, WorldModel]) -> None:
    _, model = fitted
    data = fixed_transitions()
    action = data.action.clone().requires_grad_()
    e = model.embed(data.task)
    path = model.rollout(model.encode(data.obs[0], e).detach(), e, action)
    reward = twohot.decode(model.reward_logits(path[-2], e, action[-1])).sum()
    (gradient,) = torch.autograd.grad(reward, action)
    assert gradient[0].abs().max() > 1e-6
    # The immediate reward knows of its own action: the truth is 0.5 for the first component.
    first = twohot.decode(model.reward_logits(path[0].detach(), e, action[1])).sum()
    (gradient,) = torch.autograd.grad(first, action)
    assert float(gradient[1, :, 0].mean()) == pytest.approx(0.5, abs=0.15)


def sixteen_steps(model: WorldModel) -> torch.Tensor:
    """A rollout from anywhere under any action, [16, 32, D]."""
    generator = torch.Generator().manual_seed(7)
    e = model.embed(one_task(32))
    z = model.encode(5 * torch.randn(32, OBS, generator=generator), e)
    return model.rollout(z, e, torch.randn(16, 32, ACT, generator=generator))


def test_latents_stay_on_their_simplices_over_sixteen_steps(
    fitted: tuple[str, WorldModel],
) -> None:
    _, model = fitted
    with torch.no_grad():
        z = sixteen_steps(model)
    assert (z.unflatten(-1, (-1, 8)).sum(-1) - 1).abs().max() < 1e-5
    assert (z >= 0).all()


@pytest.mark.parametrize("integrator", ["euler", "rk4"])
@pytest.mark.parametrize(
    ("retraction", "project"),
    [("simplex", True), ("simplex", False), ("rescale", True), ("none", True), ("none", False)],
)
def test_only_a_flow_that_is_neither_projected_nor_retracted_leaves_its_simplices(
    integrator: str, retraction: str, project: bool
) -> None:
    model = build(
        "flow",
        chart="simplex",
        integrator=integrator,
        retraction=retraction,
        project_velocity=project,
    )
    assert isinstance(model, FlowWorldModel)
    torch.nn.init.normal_(model.velocity_head[-1].weight, std=0.1)
    with torch.no_grad():
        off = (sixteen_steps(model).unflatten(-1, (-1, 8)).sum(-1) - 1).abs().max()
    if retraction == "none":  # entries grow, and with them the rounding of their sums
        assert (off < 1e-4) == project
    else:
        assert off < 1e-5


@pytest.mark.parametrize("integrator", ["euler", "heun", "rk4"])
def test_a_simnorm_velocity_leaves_the_simplex_by_1_a_step(integrator: str) -> None:
    """The ablation: a velocity that is positive and sums to 1 in every group adds 1 a step."""
    model = build(
        "flow",
        chart="simplex",
        velocity_head="simnorm",
        project_velocity=False,
        retraction="none",
        integrator=integrator,
    )
    with torch.no_grad():
        sums = sixteen_steps(model).unflatten(-1, (-1, 8)).sum(-1)
    steps = torch.arange(1.0, 17.0).view(16, 1, 1)
    assert torch.allclose(sums, 1 + steps.expand_as(sums), atol=1e-4)
    assert torch.allclose(sums[-1], torch.tensor(17.0), atol=1e-4)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_masked_steps_do_not_touch_the_loss(kind: str) -> None:
    model = build(kind)
    data = linear_system(16)
    mask = data.mask.clone()
    mask[5:] = False
    garbage = data.obs.clone()
    garbage[6:] = 1e3
    one, _ = loss_of(model, data._replace(mask=mask))
    two, _ = loss_of(model, data._replace(mask=mask, obs=garbage))
    assert torch.equal(one, two)


def test_flow_and_mlp_dynamics_have_equal_parameters_within_a_percent() -> None:
    sizes = (((512, 512), 512, 0), ((1792, 1792), 768, 96), ((128, 128), 64, 0))
    for units, latent, task_dim in sizes:
        counts = [
            make_world_model(
                dataclasses.replace(small(kind), units=units, latent_dim=latent, task_dim=task_dim),
                tasks_of((37, 8)),
            ).dynamics_parameters()
            for kind in ("mlp", "flow")
        ]
        assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_an_untrained_flow_stands_still() -> None:
    model = build("flow")
    z = model.encode(torch.randn(4, OBS), NO_TASK)
    assert torch.allclose(model.next(z, NO_TASK, torch.randn(4, ACT)), z, atol=1e-6)


def test_the_velocity_can_point_both_ways_inside_the_tangent_space() -> None:
    """A SimNorm head could not: its output is positive and sums to 1 in every group."""
    model = build("flow")
    assert isinstance(model, FlowWorldModel)
    torch.nn.init.normal_(model.velocity_head[-1].weight)
    v = model.velocity(torch.rand(16, 32), NO_TASK, torch.randn(16, ACT), torch.rand(16, 1))
    assert v.min() < 0 < v.max()
    assert v.unflatten(-1, (-1, 8)).sum(-1).abs().max() < 1e-4


def test_flow_matching_falls_far_below_the_floor_of_a_simnorm_head() -> None:
    """A head that is positive and sums to 1 in every group misses z1 - z0 by 1 a group at least:
    their sums differ by 1, so the squared error is 1/8 a group or more, 1/64 an entry."""
    model = build("flow", chart="simplex")
    assert isinstance(model, FlowWorldModel)
    generator = torch.Generator().manual_seed(0)
    z0 = torch.softmax(3 * torch.randn(256, 4, 8, generator=generator), -1).flatten(1)
    z1 = torch.roll(z0.view(256, 4, 8), 1, dims=-1).flatten(1)
    action = torch.randn(256, ACT, generator=generator)
    optimiser = torch.optim.Adam(model.velocity_head.parameters(), lr=3e-3)
    for _ in range(600):
        tau = torch.rand(256, 1, generator=generator)
        loss = model.flow_matching_error(z0, z1, NO_TASK, action, tau).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5 / 64


def test_flow_matching_sends_no_gradient_into_the_encoder() -> None:
    """With gradients through the path's ends the cheapest fit is a latent that never moves."""
    model = build("flow", wm_rollout_weight=0.0, reconstruction_weight=0.0, reward_weight=1e-9)
    torch.nn.init.normal_(model.velocity_head[-1].weight)
    loss, _ = loss_of(model, linear_system(16))
    loss.backward()
    assert model.encoder[0].weight.grad.abs().max() < 1e-7
    assert model.velocity_head[0].weight.grad.abs().max() > 1e-6


def test_teacher_forced_flow_matching_costs_the_same_for_every_substeps() -> None:
    calls = {}
    for substeps in (1, 8):
        model = build("flow", wm_rollout_weight=0.0, substeps=substeps, integrator="rk4")
        count = []
        model.velocity_head.register_forward_hook(lambda *_, count=count: count.append(1))
        loss_of(model, linear_system(4))
        calls[substeps] = len(count)
    assert calls == {1: 1, 8: 1}


@pytest.mark.parametrize("consistency", ["teacher_forced", "rollout"])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_every_consistency_trains_the_velocity(consistency: str, weight: float) -> None:
    model = build("flow", consistency=consistency, wm_rollout_weight=weight)
    loss, parts = loss_of(model, linear_system(8))
    loss.backward()
    assert model.velocity_head[-1].weight.grad.abs().max() > 0
    assert ("rollout" in parts) == (weight > 0)


@pytest.mark.parametrize("name", TAU_SAMPLING)
def test_tau_lies_in_the_unit_interval_around_a_half(name: str) -> None:
    nodes = torch.tensor([0.0, 0.25, 0.75, 1.0])
    tau = TAU_SAMPLING[name]((4000, 1), torch.Generator().manual_seed(0), nodes)
    assert tau.shape == (4000, 1)
    assert tau.min() >= 0 and tau.max() <= 1
    assert float(tau.mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"substeps": 1}, {0.0}),
        ({"substeps": 4}, {0.0, 0.25, 0.5, 0.75}),
        ({"integrator": "heun", "substeps": 2}, {0.0, 0.5, 1.0}),
    ],
)
def test_tau_at_nodes_is_where_the_integrator_asks(
    options: dict[str, Any], asked: set[float]
) -> None:
    model = build("flow", tau_sampling="nodes", **options)
    tau = model.draw(16, 32, torch.Generator().manual_seed(0))
    assert set(tau.unique().tolist()) == asked


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


@pytest.mark.parametrize("name", RETRACTIONS)
def test_a_retraction_hands_on_what_is_not_a_number(name: str) -> None:
    """A loss is where it is named; here it would be a broken index, on a GPU a dead process."""
    z = torch.full((2, 16), 1 / 8)
    z[0, 3] = float("nan")
    moved = RETRACTIONS[name](z)
    assert moved[0, :8].isnan().any()
    assert torch.allclose(moved[0, 8:], z[0, 8:]) and torch.allclose(moved[1], z[1])
    huge = RETRACTIONS[name](torch.full((1, 8), 1e9))
    assert huge.isfinite().all()


def test_unknown_options_of_a_flow_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"unknown world_model.integrator 'huen'.*Did you mean 'heun'"
    ):
        FlowWorldModelConfig(integrator="huen")
    with pytest.raises(ValueError, match="substeps must be at least 1, got 0"):
        FlowWorldModelConfig(substeps=0)
    with pytest.raises(ValueError, match="multiple of 8"):
        FlowWorldModelConfig(latent_dim=20)


def test_two_hot_is_the_default_and_every_reward_loss_is_one_number_a_reward() -> None:
    assert small("flow").reward_loss == small("mlp").reward_loss == "two_hot"
    logits, reward = torch.randn(4, 5, 101), torch.randn(4, 5)
    for name, loss in REWARD_LOSSES.items():
        assert loss(logits, reward).shape == reward.shape, name
    # (1 - 3)^2 and (2 - 3)^2
    by_hand = REWARD_LOSSES["mse_broadcast"](torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]))
    assert by_hand.tolist() == [2.5]


def test_observations_are_squashed_or_taken_as_they_are() -> None:
    obs = torch.tensor([[50.0, -1.0, 0.0]])
    squashed = torch.sign(obs) * torch.log(1 + obs.abs())
    symlog, none = build("mlp"), build("mlp", observation_transform="none")
    none.load_state_dict(symlog.state_dict())
    assert torch.allclose(symlog.encode(obs, NO_TASK), none.encode(squashed, NO_TASK))
    assert not torch.allclose(symlog.encode(obs, NO_TASK), none.encode(obs, NO_TASK))


def test_a_joint_that_turned_round_looks_as_before_but_for_its_count_of_turns() -> None:
    model = build("mlp", observation_transform="periodic")
    obs = torch.tensor([[0.5, -1.0, 0.0]])
    seen = torch.cat([torch.sign(obs) * torch.log(1 + obs.abs()), obs.sin(), obs.cos()], dim=-1)
    assert torch.allclose(model.transform(obs), seen)
    assert torch.allclose(model.transform(obs + 2 * math.pi)[:, 3:], seen[:, 3:], atol=1e-6)
    z = model.encode(obs, NO_TASK)
    assert model.decoder is not None and model.decoder(z).shape == (1, 9)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_the_loss_is_the_weighted_sum_of_its_parts(kind: str) -> None:
    model = build(kind, dynamics_weight=3.0, reward_weight=5.0, reconstruction_weight=7.0)
    loss, parts = loss_of(model, linear_system(8))
    by_hand = 3 * parts["dynamics"] + 5 * parts["reward"] + 7 * parts["reconstruction"]
    assert float(loss.detach()) == pytest.approx(float(by_hand))


def test_steps_weigh_a_power_of_rho_and_masked_ones_nothing() -> None:
    model = build("mlp", rho=0.5)
    mask = torch.tensor([[True, True], [True, False], [True, False]])
    # 1 + 1 + .5 + .25 = 2.75 in all
    expected = torch.tensor([[1.0, 1.0], [0.5, 0.0], [0.25, 0.0]]) / 2.75
    assert torch.allclose(model.step_weights(mask), expected)


def test_the_dynamics_loss_of_an_mlp_worked_by_hand() -> None:
    model = build("mlp", reconstruction_weight=0.0)
    assert model.decoder is None
    data = linear_system(4, horizon=2)
    _, parts = loss_of(model, data)
    with torch.no_grad():
        z = model.encode(data.obs, NO_TASK)
        one = model.next(z[0], NO_TASK, data.action[0])
        two = model.next(one, NO_TASK, data.action[1])
        first, second = F.mse_loss(one, z[1]), F.mse_loss(two, z[2])
    assert float(parts["dynamics"]) == pytest.approx(float((first + 0.9 * second) / 1.9))


def test_actions_are_told_from_the_latents_on_both_sides_of_them() -> None:
    model = build("flow", inverse_dynamics_weight=2.0)
    data = linear_system(4, horizon=2)
    loss, parts = loss_of(model, data)
    with torch.no_grad():
        z = model.encode(data.obs, NO_TASK)
        assert model.inverse_head is not None
        told = model.inverse_head(torch.cat([z[:-1], z[1:]], dim=-1))
    first, second = (F.mse_loss(told[t], data.action[t]) for t in (0, 1))
    by_hand = float((first + 0.9 * second) / 1.9)
    assert float(parts["inverse_dynamics"]) == pytest.approx(by_hand)
    without = build("flow", inverse_dynamics_weight=1e-9)
    assert float(loss.detach() - loss_of(without, data)[0].detach()) == pytest.approx(2 * by_hand)


def test_an_action_can_be_told_where_latents_moved_by_it() -> None:
    # Nothing else anchors the encoder here.
    model = build("mlp", inverse_dynamics_weight=1.0, reconstruction_weight=0.0, reward_weight=1e-9)
    fit(model, 300)
    _, parts = loss_of(model, fixed_transitions())
    assert float(parts["inverse_dynamics"]) < 0.1 * float(fixed_transitions().action.var())


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_targets_are_a_running_average_of_the_encoder_that_no_gradient_moves(kind: str) -> None:
    model = build(kind, target_momentum=0.75)
    assert model.target_encoder is not None
    began = [p.clone() for p in model.target_encoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(began, model.encoder.parameters(), strict=True))
    data = linear_system(4, horizon=2)
    before = loss_of(model, data)[1]["dynamics"]
    with torch.no_grad():
        for p in model.target_encoder.parameters():
            p.mul_(1.5)
    loss, parts = loss_of(model, data)
    assert float(parts["dynamics"]) != pytest.approx(float(before), rel=1e-3)
    loss.backward()
    assert all(p.grad is None for p in model.target_encoder.parameters())

    with torch.no_grad():
        for target, source in zip(
            model.target_encoder.parameters(), model.encoder.parameters(), strict=True
        ):
            target.fill_(4.0)
            source.fill_(8.0)
    model.follow()
    assert all((p == 5.0).all() for p in model.target_encoder.parameters())


def test_a_chart_leads_back_to_the_latent_it_was_entered_at() -> None:
    z = torch.softmax(torch.randn(10, 4, 8), -1).flatten(1)
    chart = CHARTS["logits"]
    assert chart.leave is not None
    assert torch.allclose(chart.leave(chart.enter(z)), z, atol=1e-5)


def test_a_velocity_in_logits_is_measured_in_the_latents_units() -> None:
    chart = CHARTS["logits"]
    assert chart.leave is not None
    y, v = torch.randn(2, 10, 32, dtype=torch.float64).unbind(0)
    slope = (chart.leave(y + 1e-6 * v) - chart.leave(y - 1e-6 * v)) / 2e-6
    assert torch.allclose(chart.push(y, v), slope, atol=1e-8)


def test_the_average_velocity_of_a_known_flow_has_no_mean_flow_error() -> None:
    """dy/dtau = z1 - z0 on every straight path: its average over any step is the same."""
    model = build("flow", objective="mean_flow", chart="simplex")
    assert isinstance(model, FlowWorldModel)
    z0, z1 = torch.softmax(torch.randn(2, 6, 4, 8), -1).flatten(2).unbind(0)
    noise = model.draw(1, 6, torch.Generator().manual_seed(0))[0]
    assert ((noise.sum(-1) <= 1) & (noise >= 0).all(-1)).all()
    model.velocity = lambda y, e, action, times: (z1 - z0) + 0 * times[..., :1]
    error = model.flow_matching_error(z0, z1, torch.zeros(6, 0), torch.randn(6, ACT), noise)
    assert error.abs().max() < 1e-12
    # du/dtau along the path with the end fixed: u = tau gives slope 1, u = size gives -1.
    model.velocity = lambda y, e, action, times: times[..., :1] - times[..., 1:] + 0 * y
    slope = model._slope(z0, torch.zeros(6, 0), torch.randn(6, ACT), noise, z1 - z0)
    assert torch.allclose(slope, torch.full_like(slope, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"chart": "simplex"}, {"chart": "logits"}, {"objective": "mean_flow"}]
)
def test_every_variant_of_the_flow_learns_transitions(changes: dict[str, str]) -> None:
    model = build("flow", **changes)
    data = fixed_transitions()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    weight = model.step_weights(data.mask)
    for _ in range(250):
        loss, _ = model.loss(data, weight, model.draw(*data.mask.shape, generator))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimiser.step()
    with torch.no_grad():
        e = model.embed(data.task)
        z = model.encode(data.obs, e)
        error = (model.next(z[:-1], e, data.action) - z[1:]).square().mean()
        still = (z[1:] - z[:-1]).square().mean()
    assert error < 0.2 * still
    assert (z.unflatten(-1, (-1, 8)).sum(-1) - 1).abs().max() < 1e-5


def test_a_mean_flow_asks_for_whole_steps() -> None:
    with pytest.raises(ValueError, match=r"mean_flow averages over whole steps .* got 'heun'"):
        FlowWorldModelConfig(objective="mean_flow", integrator="heun")
