"""Chunk files become a dataset with every episode once, or an error of one line and no dataset."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from published_chunks import Arrays, random_episodes, write_published

from flowpwm.__main__ import main
from flowpwm.datasets import DatasetError, convert, read_manifest

ROWS = 6
WALKER, REACHER, PENDULUM = 0, 4, 7  # ids in MT30
NAMES = {WALKER: "walker-stand", REACHER: "reacher-easy", PENDULUM: "pendulum-swingup"}
WIDTHS = {WALKER: (24, 6), REACHER: (6, 2), PENDULUM: (3, 1)}


def mt30(ids: list[int], rows: int = ROWS) -> Arrays:
    return random_episodes(ids, WIDTHS, rows, 24, 6)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, list[Arrays]]:
    """Three files whose episodes are of three tasks in mixed order; one task is in all of them."""
    folder = tmp_path / "published"
    folder.mkdir()
    rng = np.random.default_rng(0)
    chunks = []
    for number, count in enumerate((600, 7, 50)):
        ids = rng.choice([WALKER, REACHER] if number else [WALKER, REACHER, PENDULUM], count)
        arrays = mt30(ids.tolist())
        arrays["obs"][:, :, 0] += 100 * number  # no two episodes are alike
        write_published(folder / f"chunk_{number}.pt", arrays)
        chunks.append(arrays)
    return folder, chunks


def episodes_of(chunks: list[Arrays], task: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same by plain indexing, in the order of the files."""
    obs_dim, action_dim = WIDTHS[task]
    own = [chunk["task"][:, 0] == task for chunk in chunks]
    taken = {
        key: np.concatenate([chunk[key][rows] for chunk, rows in zip(chunks, own, strict=True)])
        for key in ("obs", "action", "reward")
    }
    return taken["obs"][..., :obs_dim], taken["action"][:, 1:, :action_dim], taken["reward"][:, 1:]


def arrays_of(dataset: Path, task: str) -> list[np.ndarray]:
    return [np.load(dataset / task / f"{name}.npy") for name in ("obs", "action", "reward")]


def test_every_episode_of_every_file_is_there_once(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    folder, chunks = published
    said: list[str] = []
    manifest = convert(folder, tmp_path / "out", say=said.append)
    assert read_manifest(tmp_path / "out") == manifest
    total = 0
    for task, name in NAMES.items():
        expected = episodes_of(chunks, task)
        for found, wanted in zip(arrays_of(tmp_path / "out", name), expected, strict=True):
            assert found.dtype == np.float32 and np.array_equal(found, wanted)
        total += len(expected[0])
        summary = manifest.tasks[name]
        returns = expected[2].astype(np.float64).sum(axis=1)
        assert (summary.episodes, summary.steps) == (len(returns), ROWS - 1)
        assert (summary.obs_dim, summary.action_dim) == WIDTHS[task]
        assert summary.return_mean == pytest.approx(returns.mean(), rel=1e-12)
        assert (summary.return_min, summary.return_max) == (returns.min(), returns.max())
    assert total == 657
    assert said[0] == "657 episodes of 3 tasks: 0.223 MB to write"
    assert said[1:] == [
        "chunk_0.pt: 600 of 600 episodes",
        "chunk_1.pt: 7 of 7 episodes",
        "chunk_2.pt: 50 of 50 episodes",
    ]


def test_one_task_is_the_same_alone_as_among_all(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    together = convert(published[0], tmp_path / "all")
    alone = convert(published[0], tmp_path / "one", tasks=["pendulum-swingup"], verify=False)
    assert list(alone.tasks) == ["pendulum-swingup"]
    assert alone.tasks["pendulum-swingup"] == together.tasks["pendulum-swingup"]
    assert [path.name for path in (tmp_path / "one").iterdir() if path.is_dir()] == [
        "pendulum-swingup"
    ]


def test_chunks_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for number in range(11):
        arrays = mt30([REACHER])
        arrays["obs"][:, :, 0] = number
        write_published(folder / f"chunk_{number}.pt", arrays)
    convert(folder, tmp_path / "out")
    obs = np.load(tmp_path / "out/reacher-easy/obs.npy")
    assert obs[:, 0, 0].tolist() == list(range(11))
    (folder / "chunk_4.pt").unlink()
    with pytest.raises(DatasetError, match=r"chunk_4.pt is missing, chunk_10.pt is there"):
        convert(folder, tmp_path / "fewer")
    few = [folder / "chunk_0.pt", folder / "chunk_10.pt"]
    assert convert(few, tmp_path / "fewer").tasks["reacher-easy"].episodes == 2
    with pytest.raises(DatasetError, match="a chunk file is named twice"):
        convert([*few, folder / ".." / "published" / "chunk_0.pt"], tmp_path / "twice")


def test_pieces_of_101_rows_whose_first_holds_numbers_are_taken_whole(tmp_path: Path) -> None:
    # MT80: later pieces of an episode may begin with the action that led into them; 30 and above
    # are tasks of Meta-World.
    arrays = random_episodes(
        [REACHER, 33, 79, REACHER], WIDTHS | {33: (39, 4), 79: (39, 4)}, 101, 39, 6
    )
    arrays["action"][3, 0, :2], arrays["action"][3, 0, 2:] = 0.5, 0
    arrays["reward"][3, 0] = 1.5
    arrays["reward"][1:3, 1:] *= 10  # another simulator's rewards
    write_published(tmp_path / "chunk_0.pt", arrays)
    said: list[str] = []
    manifest = convert(tmp_path / "chunk_0.pt", tmp_path / "out", "mt80", say=said.append)
    assert list(manifest.tasks) == ["reacher-easy"]
    assert said[0] == (
        "left out, no environment here: 2 episodes of button-press-topdown-wall, hand-insert"
    )
    assert manifest.source["left_out"] == {"button-press-topdown-wall": 1, "hand-insert": 1}
    obs, action, reward = arrays_of(tmp_path / "out", "reacher-easy")
    assert obs.shape == (2, 101, 6) and action.shape == (2, 100, 2) and reward.shape == (2, 100)
    assert np.array_equal(obs, arrays["obs"][[0, 3], :, :6])
    assert np.array_equal(reward, arrays["reward"][[0, 3], 1:])
    with pytest.raises(DatasetError, match=r"'hand-insert' of mt80 has no environment here"):
        convert(tmp_path / "chunk_0.pt", tmp_path / "two", "mt80", ["hand-insert"])


def put(key: str, where: tuple[int, ...], value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[key][where] = value

    return change


BAD: dict[str, tuple[Callable[[Arrays], None], str]] = {
    "an observation that is not finite": (
        put("obs", (1, 0, 2), np.inf),
        r"episode 1 \(reacher-easy\), row 0: obs\[2\] is inf; expected a finite number",
    ),
    "an action that is not finite": (
        put("action", (2, 3, 1), np.nan),
        r"episode 2 \(walker-stand\), row 3: action\[1\] is nan; expected a finite number below",
    ),
    "a reward that is not finite": (
        put("reward", (0, 1), np.nan),
        r"episode 0 \(walker-stand\), row 1: reward is nan; expected a number in \[0, 2\]",
    ),
    "a reward above what two control steps pay": (
        put("reward", (1, 5), 2.5),
        r"episode 1 \(reacher-easy\), row 5: reward is 2.5; expected a number in \[0, 2\]",
    ),
    "an observation wider than the task's": (
        put("obs", (1, 4, 6), 0.25),
        r"episode 1 \(reacher-easy\), row 4: obs\[6\] is 0.25; expected 0 beyond the task's 6 num",
    ),
    "an action wider than the task's": (
        put("action", (1, 2, 5), -1.0),
        r"episode 1 \(reacher-easy\), row 2: action\[5\] is -1.0; expected 0 beyond the task's 2 c",
    ),
    "an action beyond the box": (
        put("action", (1, 2, 0), 7.5),
        r"episode 1 \(reacher-easy\), row 2: action\[0\] is 7.5; expected a number in \[-1, 1\]",
    ),
    "an id of no task": (
        put("task", (1,), 30),
        r"episode 1 has the task ids \[30\]; expected one in \[0, 29\], as in mt30",
    ),
    "a negative id": (put("task", (0,), -1), r"episode 0 has the task ids \[-1\]; expected one"),
    "an episode of two tasks": (
        put("task", (2, 4), WALKER + 1),
        r"episode 2 has the task ids \[0, 1\]; expected one in \[0, 29\], as in mt30",
    ),
}


@pytest.mark.parametrize(("change", "says"), BAD.values(), ids=BAD)
def test_bad_numbers_are_one_line_that_says_where_and_leave_nothing(
    tmp_path: Path, change: Callable[[Arrays], None], says: str
) -> None:
    arrays = mt30([WALKER, REACHER, WALKER])
    change(arrays)
    write_published(tmp_path / "chunk_0.pt", arrays)
    with pytest.raises(DatasetError, match=r"chunk_0.pt: " + says) as refused:
        convert(tmp_path, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["chunk_0.pt"]


def test_what_pads_an_action_may_be_ignored_when_asked(tmp_path: Path) -> None:
    arrays = mt30([REACHER])
    arrays["action"][0, 2, 5] = 0.7
    write_published(tmp_path / "chunk_0.pt", arrays)
    convert(tmp_path, tmp_path / "out", ignore_action_padding=True)
    action = np.load(tmp_path / "out/reacher-easy/action.npy")
    assert np.array_equal(action, arrays["action"][:, 1:, :2])


@pytest.mark.parametrize("rows", [501, 6])
def test_rows_that_hold_what_was_done_in_them_are_refused(tmp_path: Path, rows: int) -> None:
    """A whole episode that begins with an action is shifted; of a piece it cannot be told."""
    arrays = mt30([REACHER], rows=rows)
    arrays["action"][0, 0], arrays["reward"][0, 0] = 0.0, 0.0
    write_published(tmp_path / "chunk_0.pt", arrays)
    if rows == 6:
        convert(tmp_path, tmp_path / "out")
        return
    says = r"chunk_0.pt: episode 0 \(reacher-easy\), row 0: action\[0\] is 0.0; expected NaN"
    with pytest.raises(DatasetError, match=says):
        convert(tmp_path, tmp_path / "out")


def test_only_the_chosen_tasks_are_looked_at(tmp_path: Path) -> None:
    arrays = mt30([WALKER, REACHER])
    arrays["obs"][0] = np.nan
    write_published(tmp_path / "chunk_0.pt", arrays)
    assert convert(tmp_path, tmp_path / "out", tasks=["reacher-easy"]).tasks.keys() == {
        "reacher-easy"
    }


@pytest.mark.parametrize(
    ("task_set", "tasks", "says"),
    [
        ("mt80", None, r"obs is float32 \[2, 6, 24\]; expected .*39\], as in mt80"),
        ("mt30", ["reacher-eassy"], r"'reacher-eassy' is no task of mt30. Did you mean 'reacher-e"),
        ("mt30", ["cheetah-run"], r"no episode of cheetah-run in these files; found: walker-stand"),
        ("mt31", None, r"no task set 'mt31'"),
    ],
)
def test_a_wrong_set_or_task_is_named(
    tmp_path: Path, task_set: str, tasks: list[str] | None, says: str
) -> None:
    write_published(tmp_path / "chunk_0.pt", mt30([WALKER, REACHER]))
    with pytest.raises(DatasetError, match=says):
        convert(tmp_path, tmp_path / "out", task_set, tasks)


def test_files_with_episodes_of_two_lengths_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path / "chunk_0.pt", mt30([WALKER]))
    write_published(tmp_path / "chunk_1.pt", mt30([WALKER], rows=9))
    with pytest.raises(DatasetError, match=r"chunk_1.pt: episodes of 9 rows; expected 6, as in"):
        convert(tmp_path, tmp_path / "out")


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no chunk files; expected chunk_0.pt"):
        convert(tmp_path, tmp_path / "out")


def test_a_finished_dataset_is_never_overwritten(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    convert(published[0], tmp_path / "out", tasks=["reacher-easy"])
    before = (tmp_path / "out/dataset.json").read_bytes()
    with pytest.raises(DatasetError, match=r"out: exists; choose another folder or delete it"):
        convert(published[0], tmp_path / "out")
    assert (tmp_path / "out/dataset.json").read_bytes() == before


def test_an_interrupted_conversion_leaves_nothing(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith("chunk_2"):
            assert (tmp_path / ".out.partial/walker-stand/obs.npy").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(published[0], tmp_path / "out", say=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


@pytest.mark.fault
def test_a_killed_conversion_leaves_no_dataset_and_the_next_one_says_so(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from flowpwm.datasets import convert
        die = lambda line: line.startswith("chunk_2") and os.kill(os.getpid(), signal.SIGKILL)
        convert(Path({str(published[0])!r}), Path({str(tmp_path / "out")!r}), say=die)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert not (tmp_path / "out").exists()
    with pytest.raises(DatasetError, match=r"\.out\.partial: left by an interrupted run"):
        convert(published[0], tmp_path / "out")
    shutil.rmtree(tmp_path / ".out.partial")
    convert(published[0], tmp_path / "out")


@pytest.mark.fault
def test_a_write_that_fails_is_one_line_and_leaves_nothing(
    published: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    # No file may grow beyond 64 kB: to a program the same as a full disk.
    code = f"""
        import resource
        from pathlib import Path
        from flowpwm.datasets import DatasetError, convert
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            convert(Path({str(published[0])!r}), Path({str(tmp_path / "out")!r}))
        except DatasetError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r".*out: writing failed, nothing is kept \(.*too large.*\)\n", done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_too_small_a_disk_is_found_before_anything_is_written(
    published: tuple[Path, list[Arrays]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(DatasetError, match=r"out: needs 0.2[0-9]+ MB, the disk has 0.01 MB free"):
        convert(published[0], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


def test_taking_one_task_reads_no_other_into_memory(tmp_path: Path) -> None:
    # 51 MB of which 1.2 MB are the task's; the process must not grow by more than a few blocks.
    ids = [WALKER] * 380 + [PENDULUM] * 20
    np.random.default_rng(1).shuffle(ids)
    write_published(tmp_path / "chunk_0.pt", mt30(ids, rows=1001))
    size = (tmp_path / "chunk_0.pt").stat().st_size
    assert size > 51e6
    code = f"""
        import threading, time
        from pathlib import Path
        import numpy, torch
        from flowpwm.datasets import convert

        def private_bytes():
            # What is this process's own, not a page of a file that the system can drop
            lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
            return 1024 * sum(int(l.split()[1]) for l in lines if l.startswith("Anonymous:"))

        def watch():
            while not done.is_set():
                peak[0] = max(peak[0], private_bytes())
                time.sleep(0.0005)

        folder = Path({str(tmp_path)!r})
        convert(folder, folder / "warm", tasks=["pendulum-swingup"])
        done, before = threading.Event(), private_bytes()
        peak, watcher = [before], threading.Thread(target=watch)
        watcher.start()
        convert(folder, folder / "out", tasks=["pendulum-swingup"])
        done.set(), watcher.join()
        print(peak[0] - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    # 20 episodes of 1001 rows are 2.6 MB with their padding, and are looked at a few times over
    assert int(done.stdout) < 12e6 < size / 4


def test_the_command_converts_and_prints_what_there_is(
    published: tuple[Path, list[Arrays]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["convert-dataset", str(published[0]), "--out", str(out), "--verify"]
    assert main([*command, "--task", "reacher-easy", "walker-stand"]) == 0
    printed = capsys.readouterr().out
    assert "chunk_0.pt: comparing checksums\n" in printed
    returns = np.load(out / "reacher-easy/reward.npy").sum(axis=1, dtype=np.float64)
    assert re.search(
        rf"reacher-easy +{len(returns)} episodes +{5 * len(returns):,d} transitions +"
        rf"return mean {returns.mean():.1f}, min {returns.min():.1f}, max {returns.max():.1f}\n",
        printed,
    )
    described = json.loads((out / "dataset.json").read_text())
    assert (described["format"], described["version"]) == ("flowpwm-dataset", 1)
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"error: {out}: exists; choose another folder or delete it\n"
    )
