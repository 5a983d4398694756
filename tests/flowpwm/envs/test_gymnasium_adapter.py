"""Users' own Gymnasium vector environments, held against Gymnasium stepped by hand."""

import itertools
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from flowpwm.envs import Step, UnknownTask, VectorEnv, make, spec

MODES = ("NextStep", "SameStep", "Disabled")

# Episodes of 3 to 6 steps, of which the even ones terminate and the odd ones are truncated;
# observed as [start, steps so far, last action].
SOURCE = """
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv


class Short(gymnasium.Env):
    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(np.float32([-2.0, 0.0]), np.float32([2.0, 1.0]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start = self.np_random.uniform()
        self.length = int(self.np_random.integers(3, 7))
        self.steps = 0
        return np.array([self.start, 0.0, 0.0]), {}

    def step(self, action):
        self.steps += 1
        ended, even = self.steps == self.length, self.length % 2 == 0
        obs = np.array([self.start, self.steps, action[0]])
        return obs, self.start + float(action[1]), ended and even, ended and not even, {}


def short(num_envs, mode, kind=SyncVectorEnv):
    env = kind([Short] * num_envs, autoreset_mode=mode)
    env.max_episode_steps = 100
    return env


def NextStep(num_envs):
    return short(num_envs, "NextStep")


def SameStep(num_envs):
    return short(num_envs, "SameStep")


def Disabled(num_envs):
    return short(num_envs, "Disabled")


def Processes(num_envs):
    return short(num_envs, "NextStep", AsyncVectorEnv)


def Pendulum(num_envs):
    return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")


def ByHand(num_envs):
    return SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * num_envs)


class Drift(VectorEnv):
    '''A random walk that never ends, in arrays which it writes again at every step.'''

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    max_episode_steps = 7
    single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    single_action_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.x = np.zeros((num_envs, 2), np.float32)
        self.reward = np.zeros(num_envs, np.float32)
        self.no = np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self.x[mask] = self.np_random.normal(size=(mask.sum(), 2))
        return self.x, {}

    def step(self, actions):
        self.x += actions + self.np_random.normal(size=self.x.shape)
        self.reward[:] = self.x.sum(axis=1)
        return self.x, self.reward, self.no, self.no, {}


class Saved(Drift):
    def state_dict(self):
        return {"x": self.x, "generator": self.np_random.bit_generator.state}

    def load_state_dict(self, state):
        self.x[:] = state["x"]
        self.np_random.bit_generator.state = state["generator"]


class Maskless(Drift):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)


class Unseeded(Drift):
    def reset(self, *, seed=None, options=None):
        return super().reset(options=options)


class Wordless(Drift):
    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def step(self, actions):
        obs, reward, no, _, infos = super().step(actions)
        return obs, reward, ~no, no, infos


class Modeless(Drift):
    metadata = {}


class Endless(Drift):
    max_episode_steps = None


class Stubborn(Drift):
    def __init__(self, num_envs):
        super().__init__(2)


class Demanding(Drift):
    def __init__(self, num_envs, level):
        super().__init__(num_envs)


class Buttons(Drift):
    single_action_space = Discrete(4)


class Parts(Drift):
    single_observation_space = Dict({"x": Box(-1.0, 1.0, (2,))})


class Picture(Drift):
    single_observation_space = Box(0, 255, (8, 8, 3), np.uint8)


class Boundless(Drift):
    single_action_space = Box(-np.inf, np.inf, (2,))


number = 3


def nothing(num_envs):
    return None
"""

_names = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a fresh module with `SOURCE`, so that no task is known from an earlier test."""
    name = f"users_environments_{next(_names)}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def random_actions(env: VectorEnv, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, env.num_envs, env.action_dim))


def run(env: VectorEnv, actions: np.ndarray) -> list[Step]:
    return [env.step(action) for action in actions]


def assert_same(left: list[Step], right: list[Step]) -> None:
    for a, b in zip(left, right, strict=True):
        for name, x, y in zip(Step._fields, a, b, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)


def by_hand(
    make_env: Callable[[], gymnasium.Env], seed: int, actions: np.ndarray
) -> tuple[np.ndarray, list[Step]]:
    """Single environments in a loop, each reset as soon as its episode ends."""
    envs = [make_env() for _ in range(actions.shape[1])]
    first = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    steps = []
    for action in actions:
        results = [env.step(a) for env, a in zip(envs, action, strict=True)]
        final_obs = np.stack([result[0] for result in results]).astype(np.float32)
        reward = np.array([result[1] for result in results], np.float32)
        terminated, truncated = (np.array([result[k] for result in results]) for k in (2, 3))
        obs = final_obs.copy()
        for i in np.flatnonzero(terminated | truncated):
            obs[i] = envs[i].reset()[0]
        steps.append(Step(obs, reward, terminated, truncated, final_obs))
    return first.astype(np.float32), steps


def first_seed(seed: int) -> int:
    """What an environment made with `seed` hands to its first reset."""
    return int(np.random.default_rng(seed).integers(2**31))


@pytest.mark.parametrize("name", [*MODES, "Processes"])
def test_every_autoreset_mode_gives_the_episodes_of_single_environments(
    module: str, name: str
) -> None:
    env = make(f"{module}:{name}", 3, seed=5)
    first = env.reset()
    actions = random_actions(env, 40)
    steps = run(env, actions)
    env.close()
    native = np.stack((2.0 * actions[..., 0], 0.5 * (actions[..., 1] + 1.0)), axis=-1)
    single = sys.modules[module].Short
    expected_first, expected = by_hand(single, first_seed(5), native.astype(np.float32))
    np.testing.assert_array_equal(first, expected_first)
    assert_same(steps, expected)
    ends = np.array([[step.terminated.sum(), step.truncated.sum()] for step in steps])
    assert (ends.sum(axis=0) > 5).all()


@pytest.mark.parametrize("name", ["Pendulum", "ByHand"])
def test_a_registered_environment_is_itself_with_actions_stretched_to_its_bounds(
    module: str, name: str
) -> None:
    task = f"{module}:{name}"
    entry = spec(task)
    assert (entry.name, entry.obs_dim, entry.action_dim) == (task, 3, 1)
    assert entry.episode_length == 200  # of its entry in Gymnasium's registry
    env = make(task, 2, seed=0)
    first = env.reset()
    actions = 1.5 * random_actions(env, 450)  # some of them beyond the bounds
    # Pendulum's torque lies in [-2, 2]
    torques = (2.0 * np.clip(actions, -1.0, 1.0)).astype(np.float32)
    expected_first, expected = by_hand(
        lambda: gymnasium.make("Pendulum-v1"), first_seed(0), torques
    )
    steps = run(env, actions)
    np.testing.assert_array_equal(first, expected_first)
    assert_same(steps, expected)
    assert [i for i, step in enumerate(steps, start=1) if step.truncated.all()] == [200, 400]


def test_what_cannot_be_known_of_a_users_task_is_left_open(module: str) -> None:
    entry = spec(f"{module}:Pendulum")
    assert entry.terminates
    assert (entry.return_low, entry.return_high, entry.threshold) == (-np.inf, np.inf, np.inf)
    assert entry.reward_timings == ("post_step",)


def test_the_environment_is_built_once_to_be_known(module: str) -> None:
    assert spec(f"{module}:Drift") is spec(f"{module}:Drift")


@pytest.mark.parametrize("name", MODES)
def test_a_time_limit_that_the_environment_does_not_keep_is_kept_here(
    module: str, name: str
) -> None:
    env = make(f"{module}:{name}", 4, seed=0)
    env.episode_length = 2  # its own episodes have 3 steps and more
    env.reset()
    steps = run(env, random_actions(env, 9))
    for i, step in enumerate(steps, start=1):
        assert step.truncated.tolist() == [i % 2 == 0] * 4
        assert not step.terminated.any()
        np.testing.assert_array_equal(step.final_obs[:, 1], 2.0 - i % 2)
        np.testing.assert_array_equal(step.obs[:, 1], i % 2)


def test_an_environment_without_ends_is_truncated_at_its_max_episode_steps(module: str) -> None:
    env = make(f"{module}:Drift", 2, seed=0)
    env.reset()
    steps = run(env, random_actions(env, 15))
    assert [i for i, step in enumerate(steps, start=1) if step.truncated.all()] == [7, 14]


def test_results_outlive_arrays_that_the_environment_writes_again(module: str) -> None:
    env = make(f"{module}:Drift", 2, seed=0)
    first = env.reset()
    kept = [first.copy()]
    steps = []
    for action in random_actions(env, 5):
        steps.append(env.step(action))
        kept.append(steps[-1].obs.copy())
    for old, new in zip(kept, [first, *(step.obs for step in steps)], strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", [*MODES, "Pendulum", "Drift", "Saved"])
def test_a_state_saved_after_a_reset_brings_the_same_starts_and_what_follows(
    module: str, name: str
) -> None:
    env = make(f"{module}:{name}", 3, seed=1)
    env.reset()
    run(env, random_actions(env, 4))
    first = env.reset()
    start = pickle.loads(pickle.dumps(env.state_dict()))
    actions = random_actions(env, 25)
    expected = run(env, actions)
    elsewhere = make(f"{module}:{name}", 3, seed=99)
    for again in (env, env, elsewhere):
        assert again.load_state_dict(start)
        assert_same(expected, run(again, actions))
    # the generator came back as well: the next episodes are drawn alike
    assert not np.array_equal(env.reset(), first)
    env.load_state_dict(start)
    elsewhere.load_state_dict(start)
    np.testing.assert_array_equal(env.reset(), elsewhere.reset())


def test_an_environment_that_saves_itself_continues_bit_for_bit(module: str) -> None:
    env = make(f"{module}:Saved", 3, seed=1)
    env.reset()
    run(env, random_actions(env, 10))
    saved = env.state_dict()
    before = pickle.dumps(saved)
    actions = random_actions(env, 20, seed=1)
    expected = run(env, actions)
    assert pickle.dumps(saved) == before
    elsewhere = make(f"{module}:Saved", 3, seed=99)
    for again in (env, elsewhere, elsewhere):
        assert again.load_state_dict(saved)
        assert_same(expected, run(again, actions))


@pytest.mark.parametrize("name", [*MODES, "Drift"])
def test_without_saving_a_resume_says_so_and_waits_for_new_episodes(
    module: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    env = make(f"{module}:{name}", 2, seed=1)
    env.reset()
    run(env, random_actions(env, 10))
    saved = env.state_dict()
    fresh = []
    for seed in (7, 8):
        elsewhere = make(f"{module}:{name}", 2, seed=seed)
        with caplog.at_level(logging.WARNING):
            assert not elsewhere.load_state_dict(saved)
        assert f"{module}:{name} cannot continue its saved episodes" in caplog.text
        with pytest.raises(RuntimeError, match=r"reset\(\) must come before step"):
            elsewhere.step(np.zeros((2, 2)))
        fresh.append(elsewhere.reset())
        assert elsewhere.state_dict()["elapsed"].tolist() == [0, 0]
    # the saved generator draws them, not that of the new environment
    np.testing.assert_array_equal(*fresh)


def test_starts_that_no_seed_brings_back_are_not_passed_off_as_the_same(
    module: str, caplog: pytest.LogCaptureFixture
) -> None:
    env = make(f"{module}:Unseeded", 2, seed=1)
    env.reset()
    assert not env.load_state_dict(env.state_dict())
    assert "does not bring the same start states back" in caplog.text


def test_a_state_before_the_first_reset_is_restored_too(module: str) -> None:
    saved = make(f"{module}:Saved", 2, seed=1).state_dict()
    env, same = make(f"{module}:Saved", 2, seed=2), make(f"{module}:Saved", 2, seed=1)
    assert env.load_state_dict(saved)
    np.testing.assert_array_equal(env.reset(), same.reset())


def test_a_partial_reset_that_touches_others_is_an_error_and_not_wrong_data(module: str) -> None:
    env = make(f"{module}:Maskless", 3, seed=0)
    env.reset()
    env._elapsed[1] = 6
    with pytest.raises(ValueError, match=r"Maskless: reset\(.*changed environments outside"):
        env.step(np.zeros((3, 2)))


def test_a_same_step_environment_has_to_hand_over_its_final_observations(module: str) -> None:
    env = make(f"{module}:Wordless", 2, seed=0)
    env.reset()
    with pytest.raises(ValueError, match=r"Wordless: .* no infos\['final_obs'\]"):
        env.step(np.zeros((2, 2)))


def test_closing_closes_the_environment(module: str) -> None:
    env = make(f"{module}:Drift", 1, seed=0)
    env.reset()
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="the environment is closed"):
        env.reset()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Short", r"Short is not a gymnasium.vector.VectorEnv; .*SyncVectorEnv makes one of it"),
        ("number", "a int is no class or function"),
        ("nothing", "NoneType is not a gymnasium.vector.VectorEnv"),
        ("Demanding", "cannot be called with num_envs alone: .*'level'"),
        ("Buttons", "the action space must be a flat Box of floats, got Discrete"),
        ("Parts", "the observation space must be a flat Box of floats, got Dict"),
        ("Picture", r"the observation space must be a flat Box .* uint8 of shape \(8, 8, 3\)"),
        ("Boundless", "the action space must have finite bounds"),
        ("Modeless", r"metadata\['autoreset_mode'\] must be .*SAME_STEP.*, got None"),
        ("Endless", "names no time limit: give it an attribute max_episode_steps"),
        ("Stubborn", "asked for num_envs=1, it built 2"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_in_one_line(
    module: str, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        spec(f"{module}:{name}")
    assert str(raised.value).startswith(f"task '{module}:{name}': ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("no_such_module:Class", "task 'no_such_module:Class': no module named 'no_such_module'"),
        ("MODULE.inner:Class", "no module named 'MODULE.inner'"),
        ("MODULE:Pendulun", r"'MODULE' has no 'Pendulun'. Did you mean 'Pendulum'\?"),
        ("MODULE:", "must read 'module:Class'"),
        (":Class", "must read 'module:Class'"),
        ("my/envs.py:Class", "must read 'module:Class'"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_unknown_task(module: str, task: str, message: str) -> None:
    with pytest.raises(UnknownTask, match=message.replace("MODULE", module)):
        spec(task.replace("MODULE", module))


def test_an_import_that_fails_inside_the_users_module_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_broken_module.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        spec("users_broken_module:Class")


def test_gymnasium_is_needed_by_users_tasks_only() -> None:
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "import flowpwm.envs as envs\n"
        "envs.make('point-mass', 1, 0).reset()\n"
        "try: envs.spec('module:Class')\n"
        "except envs.UnknownTask as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = "task 'module:Class' needs Gymnasium: pip install 'flowpwm[gym]'"
    assert done.stdout.strip() == expected
