"""The contract of every listed policy."""

import dataclasses
import math

import pytest
import torch

from flowpwm.policies import POLICIES, FlowPolicy, Policy, make_policy
from flowpwm.state import TrainState
from flowpwm.train import train
from tests.flowpwm.tiny import tiny

D, E, A = 16, 2, 3


def build(kind: str) -> Policy:
    torch.manual_seed(0)
    policy = make_policy(dataclasses.replace(POLICIES[kind].config(), units=(32, 32)), D + E, A)
    for parameter in policy.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


def task_vectors(batch: int) -> torch.Tensor:
    return torch.randn(batch, E, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", POLICIES)
def test_actions_lie_strictly_inside_the_box(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(7, 5, D)
    action = policy(z, task_vectors(5), policy.noise(z, torch.Generator().manual_seed(0)))
    assert action.shape == (7, 5, A)
    assert action.abs().max() < 1


@pytest.mark.parametrize("kind", POLICIES)
def test_without_noise_it_is_deterministic_and_with_noise_it_is_not(kind: str) -> None:
    policy = build(kind)
    z, e = torch.randn(5, D), task_vectors(5)
    assert torch.equal(policy(z, e, None), policy(z, e, None))
    generator = torch.Generator().manual_seed(0)
    one, two = (policy(z, e, policy.noise(z, generator)) for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.allclose(policy(z, e, torch.zeros(5, A)), policy(z, e, None))


@pytest.mark.parametrize("kind", POLICIES)
def test_the_noise_scale_starts_at_its_log_and_is_bounded_below(kind: str) -> None:
    policy = build(kind)
    assert torch.allclose(policy.std(), torch.full((A,), math.exp(-1.0)))
    with torch.no_grad():
        policy.log_std.fill_(-50.0)
    policy.keep_in_bounds()
    assert torch.allclose(policy.std(), torch.full((A,), math.exp(-1.427)))
    # From its floor the scale can rise again.
    policy.std().sum().backward()
    assert policy.log_std.grad is not None and (policy.log_std.grad > 0).all()


def test_no_update_leaves_the_noise_scale_below_its_floor() -> None:
    state = TrainState.start(tiny(policy__init_log_std=-1.4, policy__min_log_std=-1.4))
    floor = torch.tensor(-1.4)
    for report in train(state):
        assert report.metrics["actor/std"] >= float(floor.exp()) - 1e-6
    assert state.optimisers["actor"].state[state.agent.policy.log_std]["exp_avg"].abs().max() > 0


@pytest.mark.parametrize("kind", POLICIES)
def test_gradients_reach_every_parameter(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(64, D)
    noise = policy.noise(z, torch.Generator().manual_seed(0))
    policy(z, task_vectors(64), noise).square().sum().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", POLICIES)
def test_the_task_decides_the_action_together_with_the_latent(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(1, D).expand(4, D)
    actions = policy(z, task_vectors(4), None)
    assert (actions[1:] - actions[0]).abs().amax(1).min() > 1e-3
    again = policy(z, task_vectors(1), None)
    assert torch.allclose(again, actions[:1].expand(4, A))


def test_a_flow_policy_with_a_constant_velocity_moves_by_it() -> None:
    policy = build("flow")
    assert isinstance(policy, FlowPolicy)
    with torch.no_grad():
        for parameter in policy.velocity_head.parameters():
            parameter.zero_()
        last = policy.velocity_head[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
    action = policy(torch.randn(2, D), task_vectors(2), None)
    assert torch.allclose(action, torch.tanh(torch.tensor([0.5, -1.0, 0.0])).expand(2, 3))
