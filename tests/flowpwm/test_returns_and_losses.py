"""TD(lambda), the running scale, imagination and its losses, by hand and by finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from flowpwm.critic import Critic, CriticConfig
from flowpwm.losses import (
    CriticBatch,
    Imagined,
    actor_loss,
    critic_loss,
    critic_targets,
    entropy,
    imagine,
)
from flowpwm.policies import POLICIES, make_policy
from flowpwm.returns import RunningScale, td_lambda
from flowpwm.twohot import decode
from flowpwm.world_models import WORLD_MODELS, WorldModel, make_world_model
from tests.flowpwm.tiny import one_task, tasks_of


def test_td_lambda_worked_by_hand() -> None:
    reward = torch.tensor([[1.0], [2.0]])
    value = torch.tensor([[9.0], [10.0], [20.0]])
    # G_1 = 2 + .9 * 20 = 20;  G_0 = 1 + .9 * (.5 * 10 + .5 * 20) = 14.5
    targets = td_lambda(reward, value, torch.full((2, 1), 0.9), lam=0.5)
    assert torch.allclose(targets, torch.tensor([[14.5], [20.0]]))


def test_td_lambda_bootstraps_nothing_after_a_step_that_ended_its_episode() -> None:
    reward = torch.tensor([[1.0], [2.0], [5.0]])
    value = torch.tensor([[9.0], [10.0], [1e6], [20.0]])
    # The second step ends it: G_2 = 5 + .5 * 20 = 15, G_1 = 2, G_0 = 1 + .5 * (.2 * 10 + .8 * 2).
    discount = torch.tensor([[0.5], [0.0], [0.5]])
    targets = td_lambda(reward, value, discount, lam=0.8)
    assert torch.allclose(targets, torch.tensor([[2.8], [2.0], [15.0]]))


def test_td_lambda_equals_the_weighted_sum_of_n_step_returns() -> None:
    rng = np.random.default_rng(0)
    horizon, lam = 6, 0.8
    reward, value = rng.normal(size=horizon), rng.normal(size=horizon + 1)
    discount = rng.uniform(0.5, 1.0, size=horizon)
    discount[3] = 0.0

    def n_step(t: int, n: int) -> float:
        paid = sum(discount[t : t + i].prod() * reward[t + i] for i in range(n))
        return paid + discount[t : t + n].prod() * value[t + n]

    expected = []
    for t in range(horizon):
        left = horizon - t
        mixed = sum((1 - lam) * lam ** (n - 1) * n_step(t, n) for n in range(1, left))
        expected.append(mixed + lam ** (left - 1) * n_step(t, left))
    columns = (torch.tensor(x)[:, None] for x in (reward, value, discount))
    assert np.allclose(td_lambda(*columns, lam)[:, 0].numpy(), expected)


def test_the_scale_is_a_standard_deviation_and_never_shifts() -> None:
    scale = RunningScale(decay=0.0)
    scale.update(torch.tensor([10.0, 14.0]))
    assert scale.std == pytest.approx(2.0)
    constant = RunningScale()
    constant.update(torch.full((8,), 5.0))
    assert constant.std == constant.minimum
    assert RunningScale().std == 1.0


def test_the_scale_resumes_from_its_state() -> None:
    one, two = RunningScale(), RunningScale()
    one.update(torch.randn(32))
    two.load_state_dict(one.state_dict())
    one.update(torch.ones(3))
    two.update(torch.ones(3))
    assert one.std == two.std


SIZES = {"latent_dim": 16, "encoder_units": (16,), "units": (16,)}


class ConstantCritic(Critic):
    """Members that say 3, 5 and 4 everywhere."""

    def forward(self, z: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return torch.tensor([3.0, 5.0, 4.0]).view(3, *[1] * (z.ndim - 1)).expand(3, *z.shape[:-1])


def imagined_of(rewards: list[list[float]], discounts: list[list[float]]) -> Imagined:
    """A rollout with these rewards; where it went and what was done does not matter."""
    reward = torch.tensor(rewards)
    horizon, batch = reward.shape
    return Imagined(
        torch.zeros(horizon + 1, batch, 8),
        reward,
        torch.tensor(discounts),
        torch.zeros(horizon, batch, 1),
        torch.ones(horizon, batch),
        torch.zeros(batch, 0),
    )


def test_the_actor_loss_worked_by_hand_takes_the_smallest_member() -> None:
    imagined = imagined_of([[1.0, 0.0], [2.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]])
    loss, returns = actor_loss(imagined, ConstantCritic(CriticConfig(), 8), scale=2.0)
    # 1 + .5 * 2 + .25 * 3 = 2.75 and .75: minus their mean, over 2
    assert torch.allclose(returns, torch.tensor([2.75, 0.75]))
    assert float(loss) == pytest.approx(-(2.75 + 0.75) / 2 / 2)


def test_the_actor_loss_counts_nothing_after_a_certain_end_and_half_after_a_likely_one() -> None:
    imagined = imagined_of(
        [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [4.0, 4.0, 4.0]],
        # Over at once; after the second step with probability one half; at the very end.
        [[0.0, 1.0, 1.0], [1.0, 0.5, 1.0], [1.0, 1.0, 0.0]],
    )
    _, returns = actor_loss(imagined, ConstantCritic(CriticConfig(), 8), scale=1.0)
    # 1;  1 + 2 + .5 * (4 + 3);  1 + 2 + 4
    assert torch.allclose(returns, torch.tensor([1.0, 6.5, 7.0]))


def test_entropy_is_paid_in_units_of_reward_until_the_end() -> None:
    imagined = imagined_of([[1.0, 1.0], [2.0, 2.0]], [[0.5, 0.0], [0.5, 0.5]])
    critic = ConstantCritic(CriticConfig(), 8)
    plain, returns = actor_loss(imagined, critic, 2.0)
    paid, same = actor_loss(imagined, critic, 2.0, entropy_weight=0.1)
    assert torch.equal(returns, same)
    # a nat a step: 1 + .5 of the first, 1 of the second, which ends at once; their mean, over 2
    assert float(plain - paid) == pytest.approx(0.1 * (1.5 + 1.0) / 2 / 2)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.9), (0.5, 0.4), (-2.0, 0.25), (0.0, 3.0)])
def test_the_entropy_of_squashed_noise_is_that_of_its_density(mean: float, std: float) -> None:
    noise = torch.randn(400_000, 1, generator=torch.Generator().manual_seed(0)).double()
    found = entropy(
        mean + std * noise, torch.tensor([std]).double(), torch.ones(400_000, 1).double()
    ).mean()
    # Independently: minus the integral of p log p over the action, p by change of variables.
    x = np.linspace(mean - 12 * std, mean + 12 * std, 200_001)
    density = np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    log_slope = 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    expected = -np.trapezoid(density * (np.log(np.maximum(density, 1e-300)) - log_slope), x)
    assert float(found) == pytest.approx(expected, abs=0.02)
    assert expected <= np.log(2)  # the uniform one's


def test_entropy_keeps_a_gradient_where_tanh_is_flat_and_pulls_the_noise_up() -> None:
    far = torch.tensor([[30.0]], requires_grad=True)
    std = torch.tensor([0.5], requires_grad=True)
    entropy(far, std, torch.ones(1, 1)).sum().backward()
    assert far.grad is not None and float(far.grad) == pytest.approx(-2.0)
    assert std.grad is not None and float(std.grad) == pytest.approx(2.0)  # d log std / d std


def test_critic_targets_and_loss_worked_by_hand() -> None:
    critic = ConstantCritic(CriticConfig(), 8)
    imagined = imagined_of([[1.0], [2.0]], [[1.0], [1.0]])
    batch = critic_targets(imagined, critic, lam=1.0)
    assert batch.latents.shape == (2, 8) and batch.e.shape == (2, 0)
    assert torch.allclose(batch.targets, torch.tensor([6.0, 5.0]))
    # members miss 6 and 5 by 3, 1, 2 and 2, 0, 1
    assert float(critic_loss(critic, batch)) == pytest.approx((9 + 1 + 4 + 4 + 0 + 1) / 6)


def test_critic_targets_of_a_terminated_step_are_its_reward() -> None:
    imagined = imagined_of([[1.0, 1.0], [2.0, 2.0]], [[0.9, 0.0], [0.0, 0.9]])
    targets = critic_targets(imagined, ConstantCritic(CriticConfig(), 8), lam=0.5).targets
    # Of the first: G_1 = 2, G_0 = 1 + .9 * (.5 * 3 + .5 * 2). Of the second: 2 + .9 * 3 and 1.
    assert torch.allclose(targets.view(2, 2), torch.tensor([[3.25, 1.0], [2.0, 4.7]]))


def apart(imagined: Imagined) -> list[Imagined]:
    """A rollout of two samples as two rollouts of one."""
    return [
        Imagined(*(x[:, i : i + 1] for x in imagined[:-1]), e=imagined.e[i : i + 1])
        for i in range(2)
    ]


def test_the_critic_learns_of_every_state_with_its_own_task() -> None:
    imagined = imagined_of([[0.0, 0.0]] * 3, [[1.0, 1.0]] * 3)._replace(
        e=torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        latents=torch.arange(4.0).view(4, 1, 1).expand(4, 2, 8) * torch.tensor([[1.0], [10.0]]),
    )
    batch = critic_targets(imagined, ConstantCritic(CriticConfig(), 8), lam=1.0)
    assert batch.latents[:, 0].tolist() == [0.0, 0.0, 1.0, 10.0, 2.0, 20.0]
    assert batch.e.tolist() == [[1.0, 0.0], [0.0, 2.0]] * 3
    some = batch.at(torch.tensor([5, 0]))
    assert some.e.tolist() == [[0.0, 2.0], [1.0, 0.0]] and len(some.targets) == 2
    parts = [
        critic_targets(part, ConstantCritic(CriticConfig(), 8), lam=1.0) for part in apart(imagined)
    ]
    for together, whole in zip(CriticBatch.together(parts, horizon=3), batch, strict=True):
        assert torch.equal(together, whole)


@pytest.mark.parametrize("space", ["raw", "symlog"])
@pytest.mark.parametrize("policy_kind", POLICIES)
@pytest.mark.parametrize("model_kind", WORLD_MODELS)
def test_the_actor_gradient_equals_finite_differences(
    model_kind: str, policy_kind: str, space: str
) -> None:
    """In float64; over the last step's action, whose effect no detached input hides.

    Two tasks that can terminate: the gradient goes through continuation and mask as well.
    """
    torch.manual_seed(0)
    tasks = tasks_of((3, 2), (2, 1), terminates=True)
    model = make_world_model(WORLD_MODELS[model_kind].config(**SIZES, task_dim=2), tasks).double()
    policy = make_policy(POLICIES[policy_kind].config(units=(8,)), 18, 2).double()
    critic = Critic(CriticConfig(units=(8,)), 18).double()
    for parameter in (*model.parameters(), *policy.parameters(), *critic.parameters()):
        torch.nn.init.normal_(parameter, std=0.4)
    task = torch.tensor([0, 1, 0, 1, 1])
    e = model.embed(task).detach()
    z = model.encode(torch.randn(5, 3, dtype=torch.float64), e).detach()
    mask = torch.as_tensor(tasks.action_mask(), dtype=torch.float64)[task]
    noise = torch.randn(1, 5, 2, dtype=torch.float64)

    def loss() -> torch.Tensor:
        imagined = imagine(model, policy, z, e, mask, noise, space, 0.99)
        return actor_loss(imagined, critic, 1.7)[0]

    parameter = next(p for p in policy.parameters() if p.ndim == 2)
    (gradient,) = torch.autograd.grad(loss(), [parameter])
    for index in ((0, 0), (3, 5), (7, 2)):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter[index] += step
                ends.append(float(loss()))
                parameter[index] -= step
        slope = (ends[0] - ends[1]) / 2e-6
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mlp", {}),
        ("flow", {"chart": "logits"}),
        ("flow", {"chart": "simplex"}),
        ("flow", {"chart": "simplex", "integrator": "heun", "substeps": 2}),
    ],
)
def test_every_action_is_credited_for_all_that_follows_from_it(
    kind: str, options: dict[str, object]
) -> None:
    """Gradients of the loss over a plan of actions equal finite differences, in float64."""
    torch.manual_seed(0)
    tasks = tasks_of((3, 2), terminates=True)
    model = make_world_model(WORLD_MODELS[kind].config(**SIZES, **options), tasks).double()
    critic = Critic(CriticConfig(units=(8,)), 16).double()
    for parameter in (*model.parameters(), *critic.parameters()):
        torch.nn.init.normal_(parameter, std=0.4)
    policy = make_policy(POLICIES["gaussian"].config(units=(8,)), 16, 2).double()
    policy.pre_tanh = lambda z, e, noise: noise  # what it is given is what it does
    e = model.embed(one_task(3))
    z = model.encode(torch.randn(3, 3, dtype=torch.float64), e).detach()
    plan = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)

    def loss() -> torch.Tensor:
        mask = torch.ones(3, 2, dtype=torch.float64)
        return actor_loss(imagine(model, policy, z, e, mask, plan, "raw", 0.99), critic, 1.7)[0]

    (gradient,) = torch.autograd.grad(loss(), [plan])
    slopes = torch.zeros_like(gradient)
    with torch.no_grad():
        for index in np.ndindex(*plan.shape):
            ends = []
            for step in (1e-6, -1e-6):
                plan[index] += step
                ends.append(float(loss()))
                plan[index] -= step
            slopes[index] = (ends[0] - ends[1]) / 2e-6
    assert torch.allclose(gradient, slopes, rtol=1e-4, atol=1e-8)
    assert gradient.abs().amin() > 1e-6  # none is there for nothing


def small_model(terminates: bool = False) -> WorldModel:
    torch.manual_seed(0)
    tasks = tasks_of((3, 2), terminates=terminates)
    return make_world_model(WORLD_MODELS["mlp"].config(**SIZES), tasks)


def roll(
    model: WorldModel,
    horizon: int,
    discount: float = 0.9,
    policy_hook: Callable[[nn.Module], None] | None = None,
) -> Imagined:
    policy = make_policy(POLICIES["gaussian"].config(units=(8,)), 16, 2)
    if policy_hook:
        policy_hook(policy)
    e = model.embed(one_task(4))
    z = model.encode(torch.randn(4, 3), e).detach()
    noise = torch.randn(horizon, 4, 2)
    return imagine(model, policy, z, e, torch.ones(4, 2), noise, "raw", discount)


def test_the_policy_sees_detached_latents_but_credit_flows_through_the_dynamics() -> None:
    model = small_model()
    torch.nn.init.normal_(model.reward_head[-1].weight)
    seen = []

    def watch(policy: nn.Module) -> None:
        policy.mean.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))

    roll(model, 5, policy_hook=watch)
    assert seen == [False] * 5
    # What the first action does to the next latent is differentiable.
    first_action = torch.zeros(4, 2, requires_grad=True)

    def fix(policy: nn.Module) -> None:
        policy.pre_tanh = lambda z, e, noise: first_action  # the same action at every step

    imagined = roll(model, 2, policy_hook=fix)
    (gradient,) = torch.autograd.grad(imagined.latents[1][:, 0].sum(), first_action)
    assert gradient.abs().max() > 0


def test_where_nothing_terminates_every_step_is_discounted_alike() -> None:
    imagined = roll(small_model(), 3, discount=0.9)
    assert torch.equal(imagined.discounts, torch.full((3, 4), 0.9))


def test_imagined_discounts_are_those_of_the_state_that_was_reached() -> None:
    model = small_model(terminates=True)
    assert model.continuation_head is not None
    with torch.no_grad():
        torch.nn.init.normal_(model.continuation_head[-1].weight)
        torch.nn.init.normal_(model.dynamics[0].weight)
    imagined = roll(model, 3, discount=0.9)
    logit = model.continuation_head(imagined.latents[1:])[..., 0]
    expected = 0.9 / (1 + torch.exp(-logit))
    assert torch.allclose(imagined.discounts, expected)
    assert (imagined.discounts[1:] - imagined.discounts[:-1]).abs().min() > 1e-4


def test_rewards_are_those_of_the_state_an_action_was_chosen_in() -> None:
    model = small_model()
    torch.nn.init.normal_(model.reward_head[-1].weight)
    imagined = roll(model, 3)
    for t in range(3):
        action = torch.tanh(imagined.pre_tanh[t])
        e = imagined.e
        assert torch.allclose(
            imagined.rewards[t], decode(model.reward_logits(imagined.latents[t], e, action))
        )
        assert torch.allclose(
            imagined.latents[t + 1], model.next(imagined.latents[t], e, action), atol=1e-6
        )


def test_shapes_that_do_not_fit_are_refused_while_testing() -> None:
    """The checker that the test settings install is at work: B differs here."""
    with pytest.raises(TypeCheckError):
        td_lambda(torch.zeros(3, 2), torch.zeros(4, 5), torch.zeros(3, 2), 0.9)
