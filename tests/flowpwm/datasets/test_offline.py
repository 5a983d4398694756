"""What is sampled from a dataset: uniform starts, never across an episode's end, padded by task."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from published_chunks import Arrays, random_episodes, write_published
from scipy.stats import chisquare

from flowpwm.datasets import DatasetError, OfflineDataset, convert, open_dataset
from flowpwm.envs import spec
from flowpwm.envs.tasks import TaskSet, task_set

STEPS = 7
IDS = {"walker-stand": 0, "cheetah-run": 3, "reacher-easy": 4}  # in MT30
EPISODES = {"walker-stand": 5, "cheetah-run": 20, "reacher-easy": 11}


def numbered(ids: list[int]) -> Arrays:
    """Episodes whose observations begin with [episode, row]; so do actions, by 32; reward row/4."""
    widths = {IDS[name]: (spec(name).obs_dim, spec(name).action_dim) for name in IDS}
    arrays = random_episodes(ids, widths, STEPS + 1, 24, 6)
    rows = np.arange(STEPS + 1, dtype=np.float32)
    for task in set(ids):
        own = np.flatnonzero(arrays["task"][:, 0] == task)
        for key, unit in (("obs", 1), ("action", 32)):
            arrays[key][own, :, 0] = np.arange(len(own))[:, None] / unit
            arrays[key][own, :, 1] = rows / unit
    arrays["reward"][:] = rows / 4
    arrays["action"][:, 0], arrays["reward"][:, 0] = np.nan, np.nan
    return arrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    ids = [IDS[name] for name, count in EPISODES.items() for _ in range(count)]
    np.random.default_rng(0).shuffle(ids)
    write_published(root / "chunk_0.pt", numbered(ids))
    convert(root, root / "dataset")
    return root / "dataset"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def several(folder: Path) -> OfflineDataset:
    names = ("reacher-easy", "walker-stand", "cheetah-run")  # another order than MT30's
    return open_dataset(folder, task_set("+".join(names)), names, "cpu")


def test_a_sequence_is_consecutive_rows_of_one_episode_up_to_its_end(folder: Path) -> None:
    data = open_dataset(folder, task_set("cheetah-run"), ("cheetah-run",), "cpu")
    batch = data.sample(3000, 4, seeded())
    assert batch.obs.shape == (5, 3000, 17) and batch.action.shape == (4, 3000, 6)
    episode, start = batch.obs[0, :, 0], batch.obs[0, :, 1]
    assert set(start.tolist()) == set(range(STEPS))
    for t in range(4):
        assert torch.equal(batch.mask[t], start + t < STEPS)
        seen = batch.mask[t]
        # row r of the stored file holds what led from observation r - 1 to observation r
        for values in (batch.obs[t + 1], 32 * batch.action[t]):
            assert torch.equal(values[seen, 0], episode[seen])
            assert torch.equal(values[seen, 1], start[seen] + t + 1)
        assert torch.equal(batch.reward[t][seen], (start[seen] + t + 1) / 4)
    assert torch.isfinite(batch.action).all() and torch.isfinite(batch.reward).all()
    assert not batch.terminated.any()


def test_a_horizon_longer_than_any_episode_still_gives_what_there_is(folder: Path) -> None:
    batch = several(folder).sample(500, 3 * STEPS, seeded())
    assert torch.equal(batch.mask.sum(0).float(), STEPS - batch.obs[0, :, 1])
    assert torch.isfinite(batch.obs).all() and torch.isfinite(batch.action).all()


def test_starts_are_uniform_over_all_transitions_of_all_tasks(folder: Path) -> None:
    data = several(folder)
    assert len(data) == sum(EPISODES.values()) * STEPS == 252
    batch = data.sample(50_400, 3, seeded())
    obs, task = data.sample_obs(50_400, seeded(1))
    for first, ids in ((batch.obs[0], batch.task), (obs, task)):
        counts = torch.zeros(3, 20, STEPS)
        where = (ids, first[:, 0].long(), first[:, 1].long())
        counts.index_put_(where, torch.ones(50_400), accumulate=True)
        drawn = counts[counts > 0]
        assert len(drawn) == 252  # 200 draws each
        assert chisquare(drawn.numpy()).pvalue > 1e-4


def test_narrow_tasks_are_padded_with_zeros_and_carry_their_id_of_the_set(folder: Path) -> None:
    batch = several(folder).sample(2000, 4, seeded())
    assert batch.obs.shape == (5, 2000, 24) and batch.action.shape == (4, 2000, 6)
    assert batch.task.dtype == torch.int64 and set(batch.task.tolist()) == {0, 1, 2}
    reacher = batch.task == 0
    assert not batch.obs[:, reacher, 6:].any() and not batch.action[:, reacher, 2:].any()
    assert batch.obs[:, reacher, :6].abs().sum() > 0
    assert not batch.obs[:, batch.task == 2, 17:].any()
    assert (batch.obs[:, batch.task == 1] != 0).float().mean() > 0.9


def test_numbers_are_those_of_the_arrays(folder: Path) -> None:
    data = several(folder)
    batch = data.sample(300, 4, seeded())
    names = ("reacher-easy", "walker-stand", "cheetah-run")
    arrays = [np.load(folder / name / "obs.npy") for name in names]
    for i in range(300):
        stored = arrays[int(batch.task[i])]
        episode, start = int(batch.obs[0, i, 0]), int(batch.obs[0, i, 1])
        length = int(batch.mask[:, i].sum()) + 1
        expected = stored[episode, start : start + length]
        assert np.array_equal(batch.obs[:length, i, : stored.shape[2]].numpy(), expected)


def test_one_task_of_a_larger_set_has_the_sets_widths(folder: Path) -> None:
    data = open_dataset(folder, task_set("walker-stand+reacher-easy"), ("reacher-easy",), "cpu")
    batch = data.sample(50, 2, seeded())
    obs, task = data.sample_obs(50, seeded())
    assert batch.obs.shape[2] == 24 and obs.shape == (50, 24) and batch.action.shape[2] == 6
    assert set(batch.task.tolist()) == set(task.tolist()) == {1}
    assert not obs[:, 6:].any() and len(data) == 77


def test_the_same_generator_state_gives_the_same_sample(folder: Path) -> None:
    first, second = several(folder), several(folder)
    one, two = first.sample(64, 3, seeded(5)), second.sample(64, 3, seeded(5))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.obs, first.sample(64, 3, seeded(6)).obs)


def test_a_saved_run_goes_on_with_its_own_data_only(folder: Path, tmp_path: Path) -> None:
    data = several(folder)
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    several(moved).load_state_dict(data.state_dict())
    fewer = open_dataset(folder, task_set("reacher-easy"), ("reacher-easy",), "cpu")
    with pytest.raises(DatasetError, match="not the data that the saved run was trained on"):
        fewer.load_state_dict(data.state_dict())


def edited(name: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / name)


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (edited("dataset.json", Path.unlink), r"no dataset, dataset.json is missing"),
    "no JSON": (edited("dataset.json", lambda path: path.write_text("{")), r"not JSON"),
    "JSON of something else": (
        edited("dataset.json", lambda path: path.write_text('{"a": 1}')),
        r"dataset.json: not a dataset's description \(KeyError\('format'\)\)",
    ),
    "a newer version": (
        edited(
            "dataset.json",
            lambda path: path.write_text('{"format": "flowpwm-dataset", "version": 9}'),
        ),
        r"dataset.json: is flowpwm-dataset 9; expected flowpwm-dataset 1",
    ),
    "a missing array": (
        edited("reacher-easy/action.npy", Path.unlink),
        r"reacher-easy/action.npy: not a readable array",
    ),
    "a truncated array": (
        edited("reacher-easy/obs.npy", shortened),
        r"reacher-easy/obs.npy: not a readable array",
    ),
    "an array of another shape": (
        edited("reacher-easy/reward.npy", lambda path: np.save(path, np.zeros((2, 7), np.float32))),
        r"reward.npy: is float32 \[2, 7\]; expected float32 \[11, 7\]",
    ),
    "an array of another type": (
        edited("reacher-easy/reward.npy", lambda path: np.save(path, np.zeros((11, 7)))),
        r"reward.npy: is float64 \[11, 7\]; expected float32 \[11, 7\]",
    ),
    "a pickled array": (
        edited(
            "reacher-easy/obs.npy",
            lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        ),
        r"obs.npy: not a readable array",
    ),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_dataset_is_one_line_naming_the_file(
    folder: Path, tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(folder, copy)
    damage(copy)
    with pytest.raises(DatasetError, match=says) as refused:
        open_dataset(copy, task_set("reacher-easy"), ("reacher-easy",), "cpu")
    assert str(copy) in str(refused.value) and "\n" not in str(refused.value)


def test_a_task_that_is_not_in_the_dataset_is_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset: no task 'point-mass'; found: walker-stand, "):
        open_dataset(folder, task_set("point-mass"), ("point-mass",), "cpu")


def test_a_dataset_of_another_version_of_a_task_is_refused(folder: Path) -> None:
    # as if the task's observation had other parts than when the data were made
    other = spec("pendulum-swingup")
    tasks = TaskSet(("reacher-easy",), (other,))
    with pytest.raises(DatasetError, match=r"dataset: obs_dim of reacher-easy is 6; expected 3"):
        open_dataset(folder, tasks, ("reacher-easy",), "cpu")


def test_chunk_files_in_place_of_a_dataset_are_recognised(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"convert them with `python -m flowpwm convert-data"):
        open_dataset(folder.parent, task_set("reacher-easy"), ("reacher-easy",), "cpu")


def test_opening_maps_the_arrays_and_does_not_load_them(folder: Path) -> None:
    data = open_dataset(folder, task_set("reacher-easy"), ("reacher-easy",), "cpu")
    [opened] = data._tasks
    for array in (opened.obs, opened.action, opened.reward):
        assert not array.flags.owndata and not array.flags.writeable
    kinds = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    assert str(folder / "reacher-easy/obs.npy") in kinds


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_samples_arrive_on_a_gpu_unchanged(folder: Path) -> None:
    device = open_dataset(folder, task_set("reacher-easy"), ("reacher-easy",), "cuda")
    batch = device.sample(64, 4, torch.Generator("cuda").manual_seed(0))
    assert all(field.device.type == "cuda" for field in batch)
    start = batch.obs[0, :, 1]
    assert torch.equal(batch.mask.sum(0).float(), (STEPS - start).clamp(max=4))
