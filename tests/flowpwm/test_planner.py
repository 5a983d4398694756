"""MPPI finds the optimum where it is known, and does what its arithmetic says."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowpwm import twohot
from flowpwm.agent import Agent
from flowpwm.checks import ConfigError
from flowpwm.compose import compose
from flowpwm.config import EvaluationConfig
from flowpwm.evaluate import Evaluator
from flowpwm.planner import Planner, PlannerConfig
from flowpwm.world_models import WORLD_MODELS

# Two masses on two axes, pushed by bounded forces: obs = (x, y, their speeds).
STEP, DISCOUNT = 0.3, 0.99
MOVE = torch.kron(torch.tensor([[1.0, STEP], [0.0, 1.0]]), torch.eye(2))
PUSH = torch.kron(torch.tensor([[STEP**2 / 2], [STEP]]), torch.eye(2))
STATE_COST = torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1]))
ACTION_COST = 0.1 * torch.eye(2)


def riccati(steps: int, after: Tensor) -> tuple[Tensor, Tensor]:
    """Cost-to-go x'Px and gain u = -Kx, `steps` before the cost `after` is due.

    The discounted linear-quadratic regulator (Bertsekas, Dynamic Programming, vol. 1, ch. 3.1).
    """
    cost, gain = after, PUSH.T
    for _ in range(steps):
        curvature = ACTION_COST + DISCOUNT * PUSH.T @ cost @ PUSH
        gain = DISCOUNT * torch.linalg.solve(curvature, PUSH.T @ cost @ MOVE)
        cost = STATE_COST + DISCOUNT * MOVE.T @ cost @ (MOVE - PUSH @ gain)
    return cost, gain


COST, GAIN = riccati(1000, STATE_COST)


def reward(x: Tensor, u: Tensor) -> Tensor:
    return -(x @ STATE_COST * x).sum(-1) - (u @ ACTION_COST * u).sum(-1)


class Masses(nn.Module):
    """The true system as a world model: a latent is the observation and four zeros."""

    def embed(self, task: Tensor) -> Tensor:
        return torch.zeros(len(task), 0)

    def encode(self, obs: Tensor, e: Tensor) -> Tensor:
        return F.pad(obs, (0, 4))

    def next(self, z: Tensor, e: Tensor, action: Tensor) -> Tensor:
        return F.pad(z[..., :4] @ MOVE.T + action @ PUSH.T, (0, 4))

    def reward_logits(self, z: Tensor, e: Tensor, action: Tensor) -> Tensor:
        return twohot.encode(reward(z[..., :4], action), 101).log()

    def continuation(self, z: Tensor, e: Tensor) -> Tensor | None:
        return None


class Value(nn.Module):
    """The value of a latent, given as a function of the observation in it."""

    def __init__(self, value: Callable[[Tensor], Tensor]):
        super().__init__()
        self.value = value

    def minimum(self, z: Tensor, e: Tensor) -> Tensor:
        return self.value(z[..., :4])


class LinearPolicy(nn.Module):
    """u = -gain x + 0.1 noise."""

    def __init__(self, gain: Tensor):
        super().__init__()
        self.gain = gain

    def noise(self, z: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randn((*z.shape[:-1], 2), generator=generator)

    def forward(self, z: Tensor, e: Tensor, noise: Tensor) -> Tensor:
        return -z[..., :4] @ self.gain.T + 0.1 * noise


def optimal_value(x: Tensor) -> Tensor:
    return -(x @ COST * x).sum(-1)


def masses(value: Callable[[Tensor], Tensor] = optimal_value) -> Agent:
    """An agent that knows the system, and a policy that knows nothing."""
    agent = Agent.seeded(compose("point-mass laptop", {"world_model.latent_dim": 8}))
    agent.world_model, agent.critic = Masses(), Value(value)
    return agent


def planner(agent: Agent, seed: int = 0, **changes: object) -> Planner:
    return Planner(agent, PlannerConfig(**changes), DISCOUNT, seed)


def starts(n: int) -> Tensor:
    """States from which the optimal actions keep clear of their bounds."""
    x = torch.rand(n, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    x = x / 2
    assert (x @ GAIN.T).abs().max() < 0.9
    return x


def act(plan: Planner | Agent, x: Tensor) -> Tensor:
    return plan.act(x.numpy(), torch.zeros(len(x), dtype=torch.int64))


def play(plan: Planner | Agent, x: Tensor, steps: int = 15) -> Tensor:
    """Discounted returns; from the last state on everyone acts optimally."""
    total = torch.zeros(len(x))
    for t in range(steps):
        u = act(plan, x)
        total += DISCOUNT**t * reward(x, u)
        x = x @ MOVE.T + u @ PUSH.T
    return total + DISCOUNT**steps * optimal_value(x)


def test_it_comes_close_to_the_optimal_return_and_far_above_its_policy() -> None:
    x, agent = starts(8), masses()
    best = optimal_value(x)
    planned, acted = play(planner(agent), x), play(agent, x)
    assert (planned <= best + 1e-5).all()  # nothing beats the regulator
    assert planned.mean() > best.mean() * 1.03
    assert (planned > acted).all() and acted.mean() < best.mean() * 10


def test_its_first_action_is_the_optimal_one() -> None:
    x = starts(8)
    error = act(planner(masses()), x) + x @ GAIN.T
    assert error.square().mean().sqrt() < 0.03


def test_without_a_terminal_value_it_plans_for_its_horizon_alone() -> None:
    x = starts(8)
    _, gain = riccati(3, torch.zeros(4, 4))
    found = act(planner(masses(lambda x: 0 * x[..., 0])), x)
    error = (found + x @ gain.T).square().mean().sqrt()
    assert error < 0.05
    assert error < 0.3 * (found + x @ GAIN.T).square().mean().sqrt()


def test_an_optimum_outside_the_bounds_gives_an_action_at_them() -> None:
    # All cost is in the state after one step, 0 at u = -x / STEP^2 * 2 for a mass at rest.
    agent = masses(lambda x: -100 * x[..., :2].square().sum(-1))
    x = torch.tensor([[1.0, -0.5, 0.0, 0.0], [-0.2, 0.3, 0.0, 0.0]])
    u = act(planner(agent, horizon=1), x)
    assert torch.allclose(u, torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), atol=0.06)
    assert u.abs().max() <= 1


def test_rollouts_of_the_policy_are_among_the_candidates() -> None:
    """One iteration and one other candidate: hardly anything but the policy to choose from."""
    x, agent = starts(8), masses()
    agent.policy = LinearPolicy(GAIN)
    u = act(planner(agent, iterations=1, samples=65, policy_samples=64, elites=16), x)
    assert (u + x @ GAIN.T).square().mean().sqrt() < 0.05


class Counter(Masses):
    """Pays the action's first component; half of all states go on."""

    def __init__(self, goes_on: float | None):
        super().__init__()
        self.goes_on = goes_on

    def reward_logits(self, z: Tensor, e: Tensor, action: Tensor) -> Tensor:
        return twohot.encode(action[..., 0], 101).log()

    def continuation(self, z: Tensor, e: Tensor) -> Tensor | None:
        return None if self.goes_on is None else torch.full(z.shape[:-1], self.goes_on)


@pytest.mark.parametrize(
    ("goes_on", "space", "expected"),
    [
        # 1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 10
        (None, "raw", 12.52),
        # 1 + 0.45 * 2 + 0.45^2 * 3 + 0.45^3 * 10
        (0.5, "raw", 3.41875),
        (0.0, "raw", 1.0),
        # log 2 + 0.9 * log 3 + 0.81 * log 4 + 0.729 * 10
        (None, "symlog", 10.09479),
    ],
)
def test_returns_worked_by_hand(goes_on: float | None, space: str, expected: float) -> None:
    agent = masses(lambda x: 0 * x[..., 0] + 10)
    agent.world_model = Counter(goes_on)
    plan = Planner(agent, PlannerConfig(reward_space=space, chunk=1), 0.9, 0)
    actions = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None].expand(3, 2, 5, 2)
    returns = plan.returns(torch.zeros(2, 8), torch.zeros(2, 0), actions)
    assert returns.shape == (2, 5)
    assert torch.allclose(returns, torch.tensor(expected), rtol=1e-5)


def test_environments_do_not_see_each_other() -> None:
    x, agent = starts(3), masses()
    other = x.clone()
    other[1:] *= -0.5
    one, two = planner(agent), planner(agent)
    for _ in range(2):  # the second plans start from the first
        a, b = act(one, x), act(two, other)
        assert torch.equal(a[0], b[0])
        assert not torch.equal(a[1:], b[1:])


def test_how_many_are_evaluated_at_a_time_does_not_matter() -> None:
    x, agent = starts(3), masses()
    whole, single = act(planner(agent), x), act(planner(agent, chunk=1), x)
    assert torch.allclose(whole, single, atol=1e-5)


def test_a_seed_reproduces_its_actions_and_reset_replays_them() -> None:
    x, agent = starts(2), masses()
    plan, same, other = planner(agent), planner(agent), planner(agent, seed=1)
    actions = [act(plan, x), act(plan, x)]
    assert all(torch.equal(a, act(same, x)) for a in actions)
    assert not torch.equal(actions[0], act(other, x))
    plan.reset()
    assert all(torch.equal(a, act(plan, x)) for a in actions)
    task = torch.zeros(2, dtype=torch.int64)
    for given in (plan, other):
        given.reset()
        generator = torch.Generator().manual_seed(0)
        assert torch.equal(given.act(x.numpy(), task, generator), actions[0])


def test_a_plan_starts_from_the_one_before_moved_on_by_a_step() -> None:
    # With hardly any noise a plan stays where it starts.
    plan = planner(masses(), min_std=1e-6, max_std=1e-6, policy_samples=0)
    assert act(plan, starts(1)).abs().max() < 1e-4
    plan.mean = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]).unsqueeze(1)
    assert torch.allclose(act(plan, starts(1)), torch.tensor([[0.3, 0.4]]), atol=1e-4)
    assert plan.mean is not None
    expected = torch.tensor([[0.3, 0.4], [0.5, 0.6], [0.0, 0.0]])
    assert torch.allclose(plan.mean[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("kind", WORLD_MODELS)
@pytest.mark.parametrize("policy", ["gaussian", "flow"])
def test_it_plans_for_several_tasks_with_every_kind_of_network(kind: str, policy: str) -> None:
    sizes = {"task_dim": 4, "latent_dim": 16, "encoder_units": [16], "units": [16]}
    options = {f"world_model.{key}": value for key, value in sizes.items()}
    name = "cartpole-swingup+reacher-easy"
    agent = Agent.seeded(compose(f"laptop {kind}", options | {"task": name, "policy.kind": policy}))
    plan = planner(agent, samples=32, policy_samples=8, elites=8)
    obs = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    task = torch.tensor([0, 1, 0, 1])
    for _ in range(2):
        action = plan.act(obs, task)
    assert action.shape == (4, 2)
    assert plan.mean is not None
    # A cart is pushed along one axis; what it does not have stays exactly 0.
    for values in (action, *plan.mean):
        assert (values[task == 0, 1] == 0).all()
        assert (values[task == 1] != 0).all() and (values[:, 0] != 0).all()
    assert action.abs().max() <= 1


def test_an_evaluation_can_play_its_episodes() -> None:
    config = compose("point-mass laptop", {"world_model.units": [16], "policy.units": [16]})
    evaluator = Evaluator(config, EvaluationConfig(episodes=2))
    agent = Agent.seeded(config)
    returns = []
    for _ in range(2):
        plan = planner(agent, samples=8, policy_samples=4, elites=4, iterations=1)
        returns.append(evaluator(plan)[0].returns)
    assert np.array_equal(*returns)
    assert not np.array_equal(returns[0], evaluator(agent)[0].returns)
    evaluator.close()


def test_another_batch_size_needs_a_reset() -> None:
    plan = planner(masses(), samples=8, policy_samples=2, elites=2)
    act(plan, starts(2))
    with pytest.raises(ValueError, match="3 observations after 2; reset the planner first"):
        act(plan, starts(3))
    plan.reset()
    assert act(plan, starts(3)).shape == (3, 2)


def test_a_return_that_is_not_finite_is_named() -> None:
    plan = planner(masses(lambda x: x[..., 0] * torch.nan))
    with pytest.raises(FloatingPointError, match="imagined return is not finite"):
        act(plan, starts(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 0}, "planner.horizon must be at least 1, got 0"),
        ({"elites": 513}, r"planner.elites must lie in \[1, 512\], got 513"),
        ({"policy_samples": 512}, r"planner.policy_samples must lie in \[0, 511\], got 512"),
        ({"temperature": 0.0}, "planner.temperature must be positive"),
        ({"min_std": 3.0}, r"planner.min_std must be at most max_std \(2.0\), got 3.0"),
        ({"reward_space": "log"}, "unknown planner.reward_space 'log'"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PlannerConfig(**changes)
