"""The contract of every listed policy."""

import dataclasses
import math

import pytest
import torch

from flowpwm.policies import POLICIES, FlowPolicy, Policy, make_policy

D, A = 16, 3


def build(kind: str) -> Policy:
    torch.manual_seed(0)
    policy = make_policy(dataclasses.replace(POLICIES[kind].config(), units=(32, 32)), D, A)
    for parameter in policy.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return policy


@pytest.mark.parametrize("kind", POLICIES)
def test_actions_lie_strictly_inside_the_box(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(7, 5, D)
    action = policy(z, policy.noise(z, torch.Generator().manual_seed(0)))
    assert action.shape == (7, 5, A)
    assert action.abs().max() < 1


@pytest.mark.parametrize("kind", POLICIES)
def test_without_noise_it_is_deterministic_and_with_noise_it_is_not(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(5, D)
    assert torch.equal(policy(z, None), policy(z, None))
    generator = torch.Generator().manual_seed(0)
    one, two = (policy(z, policy.noise(z, generator)) for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.allclose(policy(z, torch.zeros(5, A)), policy(z, None))


@pytest.mark.parametrize("kind", POLICIES)
def test_the_noise_scale_starts_at_its_log_and_is_bounded_below(kind: str) -> None:
    policy = build(kind)
    assert torch.allclose(policy.std(), torch.full((A,), math.exp(-1.0)))
    with torch.no_grad():
        policy.log_std.fill_(-50.0)
    assert torch.allclose(policy.std(), torch.full((A,), math.exp(-1.427)))


@pytest.mark.parametrize("kind", POLICIES)
def test_gradients_reach_every_parameter(kind: str) -> None:
    policy = build(kind)
    z = torch.randn(64, D)
    policy(z, policy.noise(z, torch.Generator().manual_seed(0))).square().sum().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_flow_policy_with_a_constant_velocity_moves_by_it() -> None:
    policy = build("flow")
    assert isinstance(policy, FlowPolicy)
    with torch.no_grad():
        for parameter in policy.velocity_head.parameters():
            parameter.zero_()
        last = policy.velocity_head[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
    action = policy(torch.randn(2, D), None)
    assert torch.allclose(action, torch.tanh(torch.tensor([0.5, -1.0, 0.0])).expand(2, 3))
