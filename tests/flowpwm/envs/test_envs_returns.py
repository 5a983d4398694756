"""Returns of agents that have learnt nothing, against dm_control's."""

import numpy as np
import pytest

from flowpwm.envs import MT30, make

# Mean and standard deviation of the return of 10 episodes of uniform random actions, then of 5
# episodes without action: measured in a Python loop over dm_control 1.0.50 with MuJoCo 3.17.0,
# with those tasks that dm_control lacks built on top of it, apart from this project's code.
MEASURED: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "walker-stand": ((139.54, 13.19), (119.07, 29.9)),
    "walker-walk": ((40.01, 7.62), (19.94, 5.01)),
    "walker-run": ((25.39, 1.79), (19.86, 4.99)),
    "cheetah-run": ((7.51, 1.45), (0.14, 0.06)),
    "reacher-easy": ((25.9, 30.42), (0.0, 0.0)),
    "reacher-hard": ((6.2, 8.6), (0.0, 0.0)),
    "acrobot-swingup": ((9.49, 13.9), (0.87, 1.85)),
    "pendulum-swingup": ((0.0, 0.0), (0.0, 0.0)),
    "cartpole-balance": ((343.16, 43.58), (756.72, 22.42)),
    "cartpole-balance-sparse": ((45.8, 32.6), (369.8, 47.26)),
    "cartpole-swingup": ((37.85, 31.32), (0.01, 0.0)),
    "cartpole-swingup-sparse": ((0.0, 0.0), (0.0, 0.0)),
    "cup-catch": ((0.0, 0.0), (0.0, 0.0)),
    "finger-spin": ((0.4, 1.26), (0.0, 0.0)),
    "finger-turn-easy": ((132.6, 235.72), (0.0, 0.0)),
    "finger-turn-hard": ((70.5, 127.53), (0.0, 0.0)),
    "fish-swim": ((71.17, 27.21), (98.44, 22.43)),
    "hopper-stand": ((2.36, 7.45), (0.0, 0.0)),
    "hopper-hop": ((0.7, 2.2), (0.0, 0.0)),
    "walker-walk-backwards": ((42.98, 10.22), (20.22, 4.92)),
    "walker-run-backwards": ((25.78, 3.1), (19.9, 4.97)),
    "cheetah-run-backwards": ((27.61, 5.39), (0.1, 0.03)),
    "cheetah-run-front": ((7.08, 0.25), (6.51, 0.41)),
    "cheetah-run-back": ((6.84, 0.25), (6.37, 0.43)),
    "cheetah-jump": ((171.8, 4.03), (180.01, 0.64)),
    "hopper-hop-backwards": ((0.0, 0.0), (0.0, 0.0)),
    "reacher-three-easy": ((10.8, 22.71), (0.0, 0.0)),
    "reacher-three-hard": ((2.3, 5.29), (0.0, 0.0)),
    "cup-spin": ((160.04, 111.78), (0.0, 0.0)),
    "pendulum-spin": ((126.41, 45.8), (89.6, 56.03)),
}
RANDOM, STILL = 10, 5


@pytest.mark.parametrize("task", MT30)
def test_doing_nothing_and_random_actions_earn_what_they_earn_in_dm_control(task: str) -> None:
    env = make(task, RANDOM + STILL, seed=0)
    env.reset()
    rng = np.random.default_rng(0)
    returns = np.zeros(env.num_envs)
    for elapsed in range(1, env.episode_length + 1):
        action = np.zeros((env.num_envs, env.action_dim))
        action[:RANDOM] = rng.uniform(-1.0, 1.0, (RANDOM, env.action_dim))
        step = env.step(action)
        returns += step.reward
        assert (step.truncated == (elapsed == 500)).all()
        assert not step.terminated.any()
    for ours, (mean, deviation) in zip(
        (returns[:RANDOM], returns[RANDOM:]), MEASURED[task], strict=True
    ):
        error = np.sqrt((deviation**2 + ours.var(ddof=1)) / ours.size)
        assert ours.mean() == pytest.approx(mean, abs=4.0 * error + 0.01)
