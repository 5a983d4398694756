"""The suite tasks against dm_control itself."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from flowpwm.envs import ENVS, SimulationFailed, make
from flowpwm.envs.control_suite import SuiteEnv
from flowpwm.envs.reference import Reference, max_difference

SUITE_TASKS = [task for task in ENVS if task != "point-mass"]

every_suite_task = pytest.mark.parametrize("task", SUITE_TASKS)


def make_suite(task: str, num_envs: int, seed: int = 0) -> SuiteEnv:
    env = make(task, num_envs, seed)
    assert isinstance(env, SuiteEnv)
    return env


@every_suite_task
def test_200_control_steps_are_those_of_dm_control_to_the_bit(task: str) -> None:
    difference = max_difference(task, num_envs=4, control_steps=200, seed=0)
    assert difference.obs == 0.0
    assert difference.reward == 0.0


@every_suite_task
def test_an_environment_step_is_two_control_steps(task: str) -> None:
    env, reference = make_suite(task, 2), Reference(task, 2, seed=3)
    env.reset()
    reference.reset()
    reference.copy_into(env)
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 2, env.action_dim)):
        _, first = reference.control_step(action)
        obs, second = reference.control_step(action)
        step = env.step(action)
        np.testing.assert_array_equal(step.obs, obs.astype(np.float32))
        np.testing.assert_array_equal(step.reward, (first + second).astype(np.float32))


@every_suite_task
def test_an_episode_has_as_many_control_steps_as_dm_controls(task: str) -> None:
    env, reference = make_suite(task, 1), Reference(task, 1, seed=0).envs[0]
    # dm_control has it as a time limit: 1000 control steps in every task
    limit = reference._step_limit  # pyright: ignore[reportAttributeAccessIssue]
    assert env.episode_length * env.spec.action_repeat == limit == 1000
    assert env.spec.return_high == 1000.0


@every_suite_task
def test_starts_are_distributed_as_dm_controls(task: str) -> None:
    ours = make_suite(task, 250).reset()
    reference = Reference(task, 1, seed=0)
    theirs = np.concatenate([reference.reset() for _ in range(250)]).astype(np.float32)
    for i in range(ours.shape[1]):
        statistic, p_value = np.asarray(ks_2samp(ours[:, i], theirs[:, i]))
        assert p_value > 1e-3, f"observation {i}: {statistic}"


class Replay(np.random.Generator):
    """Gives the numbers that dm_control drew from the same legacy seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64())
        self._legacy = np.random.RandomState(seed)

    def uniform(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, low: np.ndarray, high: np.ndarray, size: tuple[int, int]
    ) -> np.ndarray:
        return np.reshape(self._legacy.uniform(low, high), size)


def test_the_cheetah_settles_into_dm_controls_very_start_state() -> None:
    env = make_suite("cheetah-run", 1)
    env._rng = Replay(seed=3)
    env.reset()
    reference = Reference("cheetah-run", 1, seed=3)
    np.testing.assert_array_equal(env.task.observe(), reference.reset())
    data = reference.envs[0].physics.data
    np.testing.assert_array_equal(env.physics.qpos[0], data.qpos)
    assert env.physics.time[0] == data.time == 0.0


@pytest.mark.parametrize(("degrees", "reward"), [(0.0, 1.0), (7.9, 1.0), (8.1, 0.0), (180.0, 0.0)])
def test_the_pendulum_is_paid_within_8_degrees_of_upright(degrees: float, reward: float) -> None:
    env = make_suite("pendulum-swingup", 2)
    env.reset()
    env.physics.qpos[:, 0] = np.deg2rad([degrees, -degrees])
    env.physics.forward()
    assert env.task.reward().tolist() == [reward, reward]


def test_a_held_upright_cartpole_earns_everything() -> None:
    env = make_suite("cartpole-balance", 1)
    env.reset()
    env.physics.qpos[:] = 0.0
    env.physics.qvel[:] = 0.0
    env.physics.forward()
    step = env.step(np.zeros((1, 1)))
    assert step.reward[0] == 2.0
    np.testing.assert_array_equal(step.obs, [[0.0, 1.0, 0.0, 0.0, 0.0]])


def test_every_reacher_has_its_own_target_which_outlives_the_others_restart() -> None:
    env = make_suite("reacher-easy", 3)
    env.reset()
    target = env.physics.per_simulation("geom_pos")[:, env.physics.geom("target"), :2]
    before = target.copy()
    assert len(np.unique(before, axis=0)) == 3
    radius = np.hypot(*before.T)
    assert (radius >= 0.05).all()
    assert (radius <= 0.20).all()
    state = env.state_dict()
    state["elapsed"] = np.array([0, env.episode_length - 1, 0])
    env.load_state_dict(state)
    env.step(np.zeros((3, 2)))
    np.testing.assert_array_equal(target[[0, 2]], before[[0, 2]])
    assert not np.array_equal(target[1], before[1])


@every_suite_task
def test_a_state_gone_bad_names_the_task_and_the_simulations(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log file where it warns
    env = make_suite(task, 4)
    env.reset()
    env.physics.qvel[[1, 3], 0] = np.nan
    action = np.zeros((4, env.action_dim))
    with pytest.raises(SimulationFailed, match=rf"{task}: simulations \[1, 3\]: .*BADQVEL"):
        env.step(action)
    # a new episode is a clean one
    assert np.isfinite(env.reset()).all()
    assert np.isfinite(env.step(action).obs).all()


def test_building_and_running_a_task_leaves_no_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    env = make_suite("cheetah-run", 2)
    env.reset()
    env.step(np.zeros((2, 6)))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
