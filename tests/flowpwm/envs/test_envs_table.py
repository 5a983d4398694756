"""The table, `make` and `spec`."""

import subprocess
import sys
from dataclasses import replace

import pytest

from flowpwm.envs import ENVS, MT30, UnknownTask, make, spec


def test_the_table_is_keyed_by_the_names_of_its_entries() -> None:
    assert {name: entry.name for name, entry in ENVS.items()} == {name: name for name in ENVS}
    assert set(ENVS) >= {"point-mass", *MT30}


def test_mt30_is_30_tasks_that_fit_its_published_agents() -> None:
    assert len(set(MT30)) == len(MT30) == 30
    # ids that published agents and datasets know the tasks by
    assert [MT30.index(task) for task in ("walker-stand", "reacher-easy", "cup-catch")] == [
        0,
        4,
        12,
    ]
    assert [MT30.index(task) for task in ("fish-swim", "cheetah-jump", "pendulum-spin")] == [
        16,
        24,
        29,
    ]
    # their widest observation and action, to which the others are padded
    assert max(spec(task).obs_dim for task in MT30) == 24
    assert max(spec(task).action_dim for task in MT30) == 6


def test_an_unknown_task_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownTask, match=r"'cartpole-swing'; known: .*'cartpole-swingup'\?"):
        make("cartpole-swing", 1, seed=0)
    with pytest.raises(ValueError, match=r"unknown task 'xyz'; known: [^?]*$"):
        spec("xyz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0, "seed": 0}, "num_envs must be at least 1, got 0"),
        ({"num_envs": 1, "seed": -1}, "seed must be at least 0, got -1"),
        # the batch itself would take 0 for all CPUs of the machine
        ({"num_envs": 1, "seed": 0, "num_threads": 0}, "num_threads must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("pendulum-swingup", **arguments)


def test_a_users_own_task_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(spec("point-mass"), name="short-point-mass", episode_length=2)
    monkeypatch.setitem(ENVS, mine.name, mine)
    env = make("short-point-mass", 4, seed=0)
    assert env.episode_length == 2
    assert env.reset().shape == (4, 4)


def test_the_table_is_read_without_loading_dm_control_or_torch() -> None:
    code = (
        "import sys, flowpwm.envs; flowpwm.envs.make('cheetah-run', 1, 0).reset();"
        "print([m for m in ('dm_control', 'torch', 'ray') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
