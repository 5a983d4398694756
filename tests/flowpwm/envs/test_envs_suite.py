"""The suite tasks against dm_control itself."""

from collections.abc import Iterator
from pathlib import Path

import mujoco
import numpy as np
import pytest
from scipy.stats import ks_2samp

from flowpwm.envs import MT30, SimulationFailed, make
from flowpwm.envs.control_suite import SuiteEnv, draw_until
from flowpwm.envs.reference import Reference, copy_state, max_difference

every_suite_task = pytest.mark.parametrize("task", MT30)


def make_suite(task: str, num_envs: int, seed: int = 0) -> SuiteEnv:
    env = make(task, num_envs, seed)
    assert isinstance(env, SuiteEnv)
    return env


@pytest.fixture(scope="module", params=MT30)
def built(request: pytest.FixtureRequest) -> Reference:
    """dm_control's environments of one task after the other: they are slow to build."""
    return Reference(request.param, num_envs=3, seed=0)


@pytest.fixture
def reference(built: Reference) -> Iterator[Reference]:
    built.seed(0)
    yield built


def test_200_control_steps_are_those_of_dm_control(reference: Reference) -> None:
    difference = max_difference(reference, control_steps=200, seed=0)
    assert difference.obs == 0.0
    # dm_control squares a single number with `pow`, which may round the last bit otherwise than
    # a multiplication does; nothing else differs
    assert difference.reward <= 2.0**-52


def test_any_state_is_observed_and_paid_as_by_dm_control(reference: Reference) -> None:
    """States that random actions do not reach: high, fast, upside down, in the ground."""
    env = make_suite(reference.task, 100)
    saved = env.state_dict()
    rng = np.random.default_rng(0)
    one = reference.envs[0]
    joints, hinges = env.physics.model.jnt_qposadr, env.physics.hinges()
    slides = env.physics.model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE.value
    paid: list[float] = []
    for _ in range(6):
        expected_obs, expected_reward = [], []
        for i in range(env.num_envs):
            if i % 5 == 0:
                one.reset()
            data = one.physics.data
            data.qpos[joints[hinges]] += rng.uniform(-np.pi, np.pi, hinges.sum())
            data.qpos[joints[slides]] += rng.normal(0.0, 0.1, slides.sum())
            data.qvel[:] = rng.normal(0.0, rng.uniform(0.0, 10.0), data.qvel.size)
            data.ctrl[:] = rng.uniform(-1.0, 1.0, data.ctrl.size)
            one.physics.forward()
            copy_state(one, saved["simulation"], i)
            observation = one.task.get_observation(one.physics).values()
            expected_obs.append(np.concatenate([np.ravel(part) for part in observation]))
            expected_reward.append(one.task.get_reward(one.physics))
        env.load_state_dict(saved)
        np.testing.assert_array_equal(env.task.observe(), expected_obs)
        np.testing.assert_allclose(env.task.reward(), expected_reward, rtol=0.0, atol=2.0**-52)
        paid += expected_reward
    assert len(np.unique(paid)) > 1, "all these states pay alike: nothing was compared"


def test_an_environment_step_is_two_control_steps(reference: Reference) -> None:
    env = make_suite(reference.task, 3)
    env.reset()
    reference.reset()
    reference.copy_into(env)
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 3, env.action_dim)):
        _, first = reference.control_step(action)
        obs, second = reference.control_step(action)
        step = env.step(action)
        np.testing.assert_array_equal(step.obs, obs.astype(np.float32))
        np.testing.assert_array_equal(step.reward, (first + second).astype(np.float32))


def test_an_episode_has_as_many_control_steps_as_dm_controls(reference: Reference) -> None:
    env = make_suite(reference.task, 1)
    # dm_control has it as a time limit: 1000 control steps in every task
    limit = reference.envs[0]._step_limit  # pyright: ignore[reportAttributeAccessIssue]
    assert env.episode_length * env.spec.action_repeat == limit == 1000
    assert env.spec.return_high == 1000.0


def test_starts_are_distributed_as_dm_controls(reference: Reference) -> None:
    env = make_suite(reference.task, 80)
    ours = np.concatenate([env.reset() for _ in range(3)])
    theirs = np.concatenate([reference.reset() for _ in range(80)]).astype(np.float32)
    for i in range(ours.shape[1]):
        statistic, p_value = np.asarray(ks_2samp(ours[:, i], theirs[:, i], method="asymp"))
        # some 400 numbers are compared over all tasks
        assert p_value > 1e-4, f"observation {i}: {statistic}"


class Replay(np.random.Generator):
    """Gives the numbers that dm_control drew from the same legacy seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64())
        self._legacy = np.random.RandomState(seed)

    def uniform(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, low: np.ndarray, high: np.ndarray, size: int | tuple[int, int]
    ) -> np.ndarray:
        return self._legacy.uniform(low, high, size)

    def standard_normal(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, size: tuple[int, int]
    ) -> np.ndarray:
        return self._legacy.standard_normal(size)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_draws_give_dm_controls_very_start_state(reference: Reference, seed: int) -> None:
    env = make_suite(reference.task, 1)
    env._rng = Replay(seed)
    env.reset()
    theirs = env.state_dict()["simulation"]
    expected_obs = reference.reset()[seed]
    copy_state(reference.envs[seed], theirs, 0)
    np.testing.assert_array_equal(env.task.observe()[0], expected_obs)
    # positions, velocities, time, warm start, targets: all that the next step starts from
    ours = env.state_dict()["simulation"]
    np.testing.assert_array_equal(ours["rows"], theirs["rows"])
    for name, values in theirs["model"].items():
        np.testing.assert_array_equal(ours["model"][name], values, err_msg=name)


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


def test_a_start_that_is_never_accepted_names_the_task_and_the_simulations() -> None:
    env = make_suite("cup-catch", 3)
    draws: list[list[int]] = []

    def accepted(ids: np.ndarray) -> np.ndarray:
        return ids == 1

    with pytest.raises(SimulationFailed, match=r"cup-catch: no start .* in simulations \[0, 2\]"):
        draw_until(env.physics, np.arange(3), lambda ids: draws.append(ids.tolist()), accepted)
    # the accepted one is left alone
    assert draws[:2] == [[0, 1, 2], [0, 2]]


def test_cup_spin_starts_with_the_ball_in_the_cup_in_nine_episodes_of_ten() -> None:
    env = make_suite("cup-spin", 100)
    rewards = []
    for _ in range(10):
        env.reset()
        rewards.append(env.task.reward())
    # a resting ball in the cup earns nothing, one outside something for its distance; 0.1 of the
    # starts are anywhere, 2 % of which are in the cup all the same
    assert np.mean(np.array(rewards) == 0.0) == pytest.approx(0.9, abs=0.03)


def test_building_and_running_a_task_leaves_no_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    env = make_suite("cheetah-run", 2)
    env.reset()
    env.step(np.zeros((2, 6)))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""
