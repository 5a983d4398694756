"""TD(lambda), the running scale and the losses, by hand and by finite differences."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from flowpwm.critic import Critic, CriticConfig
from flowpwm.losses import Imagined, actor_loss, critic_loss, critic_targets, imagine, saturation
from flowpwm.policies import POLICIES, make_policy
from flowpwm.returns import RunningScale, td_lambda
from flowpwm.world_models import WORLD_MODELS, make_world_model


def test_td_lambda_worked_by_hand() -> None:
    reward = torch.tensor([[1.0], [2.0]])
    value = torch.tensor([[9.0], [10.0], [20.0]])
    # G_1 = 2 + .9 * 20 = 20;  G_0 = 1 + .9 * (.5 * 10 + .5 * 20) = 14.5
    targets = td_lambda(reward, value, discount=0.9, lam=0.5)
    assert torch.allclose(targets, torch.tensor([[14.5], [20.0]]))


def test_td_lambda_equals_the_weighted_sum_of_n_step_returns() -> None:
    rng = np.random.default_rng(0)
    horizon, discount, lam = 6, 0.97, 0.8
    reward, value = rng.normal(size=horizon), rng.normal(size=horizon + 1)

    def n_step(t: int, n: int) -> float:
        paid = sum(discount**i * reward[t + i] for i in range(n))
        return paid + discount**n * value[t + n]

    expected = []
    for t in range(horizon):
        left = horizon - t
        mixed = sum((1 - lam) * lam ** (n - 1) * n_step(t, n) for n in range(1, left))
        expected.append(mixed + lam ** (left - 1) * n_step(t, left))
    targets = td_lambda(torch.tensor(reward)[:, None], torch.tensor(value)[:, None], discount, lam)
    assert np.allclose(targets[:, 0].numpy(), expected)


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


NO_ACTION = torch.zeros(2, 1, 1)


class ConstantCritic(Critic):
    """Members that say 3, 5 and 4 everywhere."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tensor([3.0, 5.0, 4.0]).view(3, *[1] * (z.ndim - 1)).expand(3, *z.shape[:-1])


def test_the_actor_loss_worked_by_hand_takes_the_smallest_member() -> None:
    critic = ConstantCritic(CriticConfig(), 8)
    imagined = Imagined(torch.zeros(3, 2, 8), torch.tensor([[1.0, 0.0], [2.0, 0.0]]), NO_ACTION)
    loss, returns = actor_loss(imagined, critic, discount=0.5, scale=2.0)
    # 1 + .5 * 2 + .25 * 3 = 2.75 and .75: minus their mean, over 2
    assert torch.allclose(returns, torch.tensor([2.75, 0.75]))
    assert float(loss) == pytest.approx(-(2.75 + 0.75) / 2 / 2)


def test_saturation_is_minus_the_log_slope_of_tanh_and_keeps_a_gradient_where_that_is_flat() -> (
    None
):
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    assert float(saturation(x)) == pytest.approx(-np.log(1 - np.tanh(1.0) ** 2))
    far = torch.tensor([[30.0]], requires_grad=True)
    saturation(far).backward()
    assert far.grad is not None and float(far.grad) == pytest.approx(2.0)


def test_critic_targets_and_loss_worked_by_hand() -> None:
    critic = ConstantCritic(CriticConfig(), 8)
    imagined = Imagined(torch.zeros(3, 1, 8), torch.tensor([[1.0], [2.0]]), NO_ACTION)
    latents, targets = critic_targets(imagined, critic, discount=1.0, lam=1.0)
    assert latents.shape == (2, 8)
    assert torch.allclose(targets, torch.tensor([6.0, 5.0]))
    # members miss 6 and 5 by 3, 1, 2 and 2, 0, 1
    assert float(critic_loss(critic, latents, targets)) == pytest.approx(
        (9 + 1 + 4 + 4 + 0 + 1) / 6
    )


@pytest.mark.parametrize("space", ["raw", "symlog"])
@pytest.mark.parametrize("policy_kind", POLICIES)
@pytest.mark.parametrize("model_kind", WORLD_MODELS)
def test_the_actor_gradient_equals_finite_differences(
    model_kind: str, policy_kind: str, space: str
) -> None:
    """In float64; over the last step's action, whose effect no detached input hides."""
    torch.manual_seed(0)
    sizes = {"latent_dim": 16, "encoder_units": (16,), "units": (16,)}
    model = make_world_model(WORLD_MODELS[model_kind].config(**sizes), 3, 2).double()
    policy = make_policy(POLICIES[policy_kind].config(units=(8,)), 16, 2).double()
    critic = Critic(CriticConfig(units=(8,)), 16).double()
    for parameter in (*model.parameters(), *policy.parameters(), *critic.parameters()):
        torch.nn.init.normal_(parameter, std=0.4)
    z = model.encode(torch.randn(5, 3, dtype=torch.float64)).detach()

    def loss() -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        imagined = imagine(model, policy, z, 1, space, generator)
        return actor_loss(imagined, critic, 0.99, 1.7)[0]

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


def test_the_policy_sees_detached_latents_but_credit_flows_through_the_dynamics() -> None:
    torch.manual_seed(0)
    model = make_world_model(
        WORLD_MODELS["mlp"].config(latent_dim=16, encoder_units=(16,), units=(16,)), 3, 2
    )
    torch.nn.init.normal_(model.reward_head[-1].weight)
    policy = make_policy(POLICIES["gaussian"].config(units=(8,)), 16, 2)
    seen = []
    policy.mean.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    z = model.encode(torch.randn(4, 3)).detach()
    imagined = imagine(model, policy, z, 5, "raw", torch.Generator().manual_seed(0))
    assert seen == [False] * 5
    # What the first action does to the next latent is differentiable.
    first_action = torch.zeros(4, 2, requires_grad=True)
    policy.pre_tanh = lambda z, noise: first_action  # the same action at every step
    imagined = imagine(model, policy, z, 2, "raw", torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(imagined.latents[1][:, 0].sum(), first_action)
    assert gradient.abs().max() > 0


def test_shapes_that_do_not_fit_are_refused_while_testing() -> None:
    """The checker that the test settings install is at work: B differs here."""
    with pytest.raises(TypeCheckError):
        td_lambda(torch.zeros(3, 2), torch.zeros(4, 5), 0.9, 0.9)
