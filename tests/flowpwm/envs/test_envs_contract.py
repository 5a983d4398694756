"""What every environment of the table must do; listing a task there is testing it here."""

import pickle

import numpy as np
import pytest

from flowpwm.envs import ENVS, Step, VectorEnv, make, spec

NUM_ENVS = 3

every_task = pytest.mark.parametrize("task", ENVS)


def random_actions(env: VectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, env.num_envs, env.action_dim))


def run(env: VectorEnv, actions: np.ndarray) -> list[Step]:
    return [env.step(action) for action in actions]


def assert_same(left: list[Step], right: list[Step]) -> None:
    for a, b in zip(left, right, strict=True):
        for name, x, y in zip(Step._fields, a, b, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


@every_task
def test_shapes_dtypes_and_values_are_those_of_the_spec(task: str) -> None:
    entry, env = spec(task), make(task, NUM_ENVS, seed=0)
    first = env.reset()
    assert (env.num_envs, env.obs_dim, env.action_dim, env.episode_length) == (
        NUM_ENVS,
        entry.obs_dim,
        entry.action_dim,
        entry.episode_length,
    )
    assert first.shape == (NUM_ENVS, entry.obs_dim)
    assert first.dtype == np.float32
    largest_reward = entry.return_high / entry.episode_length
    smallest_reward = entry.return_low / entry.episode_length
    for step in run(env, random_actions(env, 20)):
        for obs in (step.obs, step.final_obs):
            assert obs.shape == (NUM_ENVS, entry.obs_dim)
            assert obs.dtype == np.float32
            assert np.isfinite(obs).all()
        assert step.reward.shape == step.terminated.shape == step.truncated.shape == (NUM_ENVS,)
        assert step.reward.dtype == np.float32
        assert step.terminated.dtype == step.truncated.dtype == np.bool_
        assert (step.reward >= smallest_reward).all()
        assert (step.reward <= largest_reward).all()
    assert entry.return_low < entry.threshold < entry.return_high


@every_task
def test_the_seed_decides_everything(task: str) -> None:
    def history(seed: int) -> tuple[np.ndarray, list[Step]]:
        env = make(task, NUM_ENVS, seed)
        env.episode_length = 4
        return env.reset(), run(env, random_actions(env, 10))

    first_obs, first = history(seed=5)
    again_obs, again = history(seed=5)
    np.testing.assert_array_equal(first_obs, again_obs)
    assert_same(first, again)
    assert not np.array_equal(first_obs, history(seed=6)[0])


@every_task
def test_the_environments_of_one_batch_start_differently(task: str) -> None:
    obs = make(task, NUM_ENVS, seed=0).reset()
    assert len(np.unique(obs, axis=0)) == NUM_ENVS


@every_task
def test_threads_change_no_bit(task: str) -> None:
    def history(num_threads: int) -> list[Step]:
        env = make(task, NUM_ENVS, seed=0, num_threads=num_threads)
        env.reset()
        return run(env, random_actions(env, 10))

    assert_same(history(1), history(2))


@every_task
def test_an_episode_is_truncated_after_exactly_its_length(task: str) -> None:
    env = make(task, 2, seed=0)
    env.reset()
    assert env.state_dict()["elapsed"].tolist() == [0, 0]
    late = env.state_dict()
    late["elapsed"][:] = env.episode_length - 3
    env.load_state_dict(late)
    steps = run(env, random_actions(env, 5))
    assert [step.truncated.tolist() for step in steps] == [[i == 2] * 2 for i in range(5)]
    assert not any(step.terminated.any() for step in steps)
    assert env.state_dict()["elapsed"].tolist() == [2, 2]


@every_task
def test_only_the_finished_environments_restart_and_final_obs_is_what_they_reached(
    task: str,
) -> None:
    env, endless = make(task, NUM_ENVS, seed=0), make(task, NUM_ENVS, seed=0)
    np.testing.assert_array_equal(env.reset(), endless.reset())
    # the middle environment is one step from its end
    late = env.state_dict()
    late["elapsed"] = np.array([0, env.episode_length - 1, 7])
    env.load_state_dict(late)
    actions = random_actions(env, 6)
    steps, unbroken = run(env, actions), run(endless, actions)
    assert steps[0].truncated.tolist() == [False, True, False]
    np.testing.assert_array_equal(steps[0].final_obs, unbroken[0].final_obs)
    assert not np.array_equal(steps[0].obs[1], steps[0].final_obs[1])
    for ours, theirs in zip(steps, unbroken, strict=True):
        np.testing.assert_array_equal(ours.obs[[0, 2]], theirs.obs[[0, 2]])
        np.testing.assert_array_equal(ours.reward[[0, 2]], theirs.reward[[0, 2]])
    # where nothing ended the two observations are one
    np.testing.assert_array_equal(steps[1].obs, steps[1].final_obs)
    assert env.state_dict()["elapsed"].tolist() == [6, 5, 13]


@every_task
def test_a_restart_draws_from_the_start_distribution(task: str) -> None:
    env, fresh = make(task, 1, seed=0), make(task, 1, seed=0)
    env.episode_length = 1
    env.reset()
    restarted = [step.obs[0] for step in run(env, random_actions(env, 3))]
    fresh.reset()
    np.testing.assert_array_equal(restarted, [fresh.reset()[0] for _ in range(3)])


@every_task
def test_a_saved_environment_continues_bit_for_bit(task: str) -> None:
    env = make(task, NUM_ENVS, seed=1)
    env.episode_length = 12  # so that a restart lies behind the save and two after it
    env.reset()
    run(env, random_actions(env, 17, seed=1))
    saved = pickle.loads(pickle.dumps(env.state_dict()))
    actions = random_actions(env, 30, seed=2)
    expected = run(env, actions)

    elsewhere = make(task, NUM_ENVS, seed=99)
    elsewhere.episode_length = 12
    elsewhere.load_state_dict(saved)
    assert_same(expected, run(elsewhere, actions))
    # also where the simulator has moved on meanwhile
    env.load_state_dict(saved)
    assert_same(expected, run(env, actions))


@every_task
def test_a_saved_state_does_not_change_when_the_environment_goes_on(task: str) -> None:
    env = make(task, NUM_ENVS, seed=0)
    env.reset()
    saved = env.state_dict()
    before = pickle.dumps(saved)
    run(env, random_actions(env, 5))
    assert pickle.dumps(saved) == before


@every_task
def test_a_state_of_another_size_or_task_is_refused(task: str) -> None:
    env = make(task, NUM_ENVS, seed=0)
    saved = env.state_dict()
    with pytest.raises(ValueError, match="num_envs is 3, this one's is 2"):
        make(task, 2, seed=0).load_state_dict(saved)
    with pytest.raises(ValueError, match="the saved task is 'other'"):
        env.load_state_dict(saved | {"task": "other"})


@every_task
def test_actions_are_clipped_to_plus_minus_one(task: str) -> None:
    env, clipped = make(task, NUM_ENVS, seed=0), make(task, NUM_ENVS, seed=0)
    env.reset()
    clipped.reset()
    actions = 3.0 * random_actions(env, 10)
    assert_same(run(env, actions), run(clipped, np.clip(actions, -1.0, 1.0)))


@every_task
def test_a_bad_action_is_refused_by_name(task: str) -> None:
    env = make(task, NUM_ENVS, seed=0)
    env.reset()
    action = np.zeros((NUM_ENVS, env.action_dim))
    with pytest.raises(ValueError, match=rf"{task}: action must be \(3, {env.action_dim}\)"):
        env.step(action[:2])
    action[2, 0] = np.nan
    with pytest.raises(ValueError, match=rf"{task}: the action of environments \[2\]"):
        env.step(action)


@every_task
def test_results_belong_to_the_caller(task: str) -> None:
    env = make(task, NUM_ENVS, seed=0)
    first = env.reset()
    kept = first.copy()
    steps = run(env, random_actions(env, 2))
    np.testing.assert_array_equal(first, kept)
    steps[0].obs[:] = 0.0
    assert steps[0].final_obs.any()


@every_task
def test_step_wants_a_reset_first_and_nothing_follows_close(task: str) -> None:
    env = make(task, NUM_ENVS, seed=0)
    action = np.zeros((NUM_ENVS, env.action_dim))
    with pytest.raises(RuntimeError, match=f"{task}: reset"):
        env.step(action)
    env.reset()
    env.close()
    env.close()
    for call in (env.reset, env.state_dict, lambda: env.step(action)):
        with pytest.raises(RuntimeError, match=f"{task}: the environment is closed"):
            call()
