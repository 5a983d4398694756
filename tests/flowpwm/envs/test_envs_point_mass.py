"""The point mass: its dynamics by hand, and that it can be solved."""

import numpy as np
import pytest

from flowpwm.envs import VectorEnv, make, spec


def start_at(position: list[float], velocity: list[float]) -> VectorEnv:
    env = make("point-mass", 1, seed=0)
    env.reset()
    state = env.state_dict()
    state["simulation"] = {"position": np.array([position]), "velocity": np.array([velocity])}
    env.load_state_dict(state)
    return env


def test_one_step_is_the_documented_one() -> None:
    # v = (0.2, 0) + 0.1 (4 (1, -0.5) - 0.5 (0.2, 0)) = (0.59, -0.2); x = (0.3, 0.1) + 0.1 v
    step = start_at([0.3, 0.1], [0.2, 0.0]).step(np.array([[1.0, -0.5]]))
    np.testing.assert_allclose(step.obs, [[0.359, 0.08, 0.59, -0.2]], rtol=1e-6)
    # |x|^2 = 0.128881 + 0.0064 = 0.135281; over 0.0625 that is 2.164496
    assert step.reward[0] == pytest.approx(1.0 / 3.164496, rel=1e-6)


def test_a_wall_stops_only_the_component_that_hits_it() -> None:
    # v = (2, 1) + 0.1 (0 - 0.5 (2, 1)) = (1.9, 0.95); x = 0.9 + 0.19 is beyond the wall
    step = start_at([0.9, 0.0], [2.0, 1.0]).step(np.zeros((1, 2)))
    np.testing.assert_allclose(step.obs, [[1.0, 0.095, 0.0, 0.95]], rtol=1e-6)


def test_resting_at_the_goal_earns_the_largest_return() -> None:
    env = start_at([0.0, 0.0], [0.0, 0.0])
    rewards = [env.step(np.zeros((1, 2))).reward[0] for _ in range(env.episode_length)]
    assert sum(rewards) == spec("point-mass").return_high == 64.0


def test_starts_fill_the_box_at_rest() -> None:
    obs = make("point-mass", 2000, seed=0).reset()
    assert (np.abs(obs[:, :2]) <= 1.0).all()
    # a uniform variable on [-1, 1] has mean 0 and variance 1/3
    np.testing.assert_allclose(obs[:, :2].mean(axis=0), 0.0, atol=0.05)
    np.testing.assert_allclose(obs[:, :2].var(axis=0), 1.0 / 3.0, atol=0.02)
    assert not obs[:, 2:].any()


def test_a_good_policy_solves_it_and_a_random_one_is_far_below() -> None:
    env = make("point-mass", 200, seed=0)
    rng = np.random.default_rng(0)

    def returns(policy: str) -> np.ndarray:
        obs, total = env.reset(), np.zeros(env.num_envs)
        for _ in range(env.episode_length):
            if policy == "proportional-derivative":
                action = -(6.0 * obs[:, :2] + 2.0 * obs[:, 2:])
            else:
                action = rng.uniform(-1.0, 1.0, (env.num_envs, 2))
            step = env.step(action.astype(np.float64))
            obs, total = step.obs, total + step.reward
        return total

    assert returns("proportional-derivative").min() > 55.0
    assert returns("random").mean() < 12.0
