"""From TD-MPC2's chunk files to a dataset: every episode once, a few megabytes at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from flowpwm.datasets.arrays import TaskWriter
from flowpwm.datasets.chunks import read_chunk, verify_checksums
from flowpwm.datasets.episodes import take
from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.folders import amount, whole_folder
from flowpwm.datasets.manifest import Manifest, array_shapes, write_manifest
from flowpwm.datasets.published import Layout, layout_of
from flowpwm.envs import ENVS, spec

# Episodes that are copied at once: 16 MB of MT30's.
_BLOCK = 256
_PROGRESS_S = 10.0

Say = Callable[[str], None]


def convert(
    chunks: Path | Sequence[Path],
    out: Path,
    task_set: str = "mt30",
    tasks: Sequence[str] | None = None,
    *,
    verify: bool = False,
    ignore_action_padding: bool = False,
    say: Say = lambda _: None,
) -> Manifest:
    """Write the dataset `out` from chunk files of a task set, of `tasks` only where they are given.

    `chunks` is a folder or the files; tasks without an environment here are left out and `say` is
    told. `verify` first compares the checksums in the files, which reads all of them. With
    `ignore_action_padding`, a task's actions may be followed by numbers other than 0.

    Raises:
      DatasetError: a file is damaged or not of this task set, a number is not finite or not in its
        range, `out` exists, or the disk is too small. Nothing is left of `out`.
    """
    layout = layout_of(task_set)
    scans = [_scan(path, layout, verify, say) for path in chunk_files(chunks)]
    for scan in scans:
        if scan.rows != scans[0].rows:
            raise DatasetError(
                f"{scan.path}: episodes of {scan.rows} rows; "
                f"expected {scans[0].rows}, as in {scans[0].path}"
            )
    found = _count(scans, layout)
    chosen = _choose(layout, found, tasks)
    left_out = {task: count for task, count in found.items() if task not in ENVS}
    if left_out:
        count = sum(left_out.values())
        say(f"left out, no environment here: {count:,d} episodes of {', '.join(left_out)}")

    writers = {}
    for task in chosen:
        sizes = (found[task], scans[0].rows - 1, spec(task).obs_dim, spec(task).action_dim)
        writers[task] = TaskWriter(array_shapes(*sizes))
    needed = sum(writer.bytes for writer in writers.values())
    count = sum(found[task] for task in chosen)
    say(f"{count:,d} episodes of {len(chosen)} tasks: {amount(needed)} to write")
    with whole_folder(out, needed) as folder, ExitStack() as stack:
        for task, writer in writers.items():
            writer.open(folder / task, stack)
        for scan in scans:
            _copy(scan, layout, writers, ignore_action_padding, say)
        source = {
            "task_set": task_set,
            "files": {scan.path.name: scan.path.stat().st_size for scan in scans},
            "left_out": left_out,
        }
        manifest = Manifest(source, {task: writer.finish() for task, writer in writers.items()})
        write_manifest(folder, manifest)
    return manifest


def chunk_files(chunks: Path | Sequence[Path]) -> list[Path]:
    """The chunk files of a folder in the order of their numbers, or the files as they are given.

    Raises DatasetError where there are none, one is missing in between or given twice.
    """
    files = [chunks] if isinstance(chunks, Path) else list(chunks)
    if len(files) == 1 and files[0].is_dir():
        return _numbered(files[0])
    if len({path.resolve() for path in files}) < len(files):
        raise DatasetError(f"a chunk file is named twice: {' '.join(map(str, files))}")
    return files


def _numbered(folder: Path) -> list[Path]:
    matches = [(re.fullmatch(r"chunk_(\d+)\.pt", path.name), path) for path in folder.iterdir()]
    numbered = {int(match[1]): path for match, path in matches if match}
    if not numbered:
        raise DatasetError(f"{folder}: no chunk files; expected chunk_0.pt, chunk_1.pt, ...")
    last = max(numbered)
    for number in range(last):
        if number not in numbered:
            raise DatasetError(
                f"{folder}: chunk_{number}.pt is missing, chunk_{last}.pt is there; "
                f"to convert fewer files, name them"
            )
    return [numbered[number] for number in range(last + 1)]


class _Scan(NamedTuple):
    """One file, the task id of each of its episodes, and their rows."""

    path: Path
    ids: Int64[np.ndarray, " E"]
    rows: int


def _scan(path: Path, layout: Layout, verify: bool, say: Say) -> _Scan:
    if verify:
        say(f"{path.name}: comparing checksums")
        verify_checksums(path)
    task = read_chunk(path, layout).task.numpy()
    ids = np.empty(len(task), np.int64)
    for block in _blocks(np.arange(len(task))):
        part = task[block[0] : block[-1] + 1]
        ids[block] = part[:, 0]
        unsteady = (part != part[:, :1]).any(axis=1)
        unknown = (part[:, 0] < 0) | (part[:, 0] >= len(layout.names))
        if (unsteady | unknown).any():
            i = int((unsteady | unknown).argmax())
            raise DatasetError(
                f"{path}: episode {block[i]} has the task ids {np.unique(part[i]).tolist()}; "
                f"expected one in [0, {len(layout.names) - 1}], as in {layout.title}"
            )
    return _Scan(path, ids, task.shape[1])


def _count(scans: Iterable[_Scan], layout: Layout) -> dict[str, int]:
    counts = np.zeros(len(layout.names), np.int64)
    for scan in scans:
        counts += np.bincount(scan.ids, minlength=len(layout.names))
    return {name: int(count) for name, count in zip(layout.names, counts, strict=True) if count}


def _choose(layout: Layout, found: dict[str, int], tasks: Sequence[str] | None) -> list[str]:
    chosen = [task for task in found if task in ENVS] if tasks is None else dict.fromkeys(tasks)
    for task in chosen:
        layout.index(task)
        if task not in ENVS:
            raise DatasetError(f"{task!r} of {layout.title} has no environment here")
        if task not in found:
            raise DatasetError(f"no episode of {task} in these files; found: {', '.join(found)}")
    if not chosen:
        names = ", ".join(found) or "no episode"
        raise DatasetError(f"no episode of a task with an environment here; found: {names}")
    return list(chosen)


def _copy(
    scan: _Scan,
    layout: Layout,
    writers: dict[str, TaskWriter],
    ignore_action_padding: bool,
    say: Say,
) -> None:
    chunk = read_chunk(scan.path, layout)
    wanted = np.flatnonzero(np.isin(scan.ids, [layout.index(task) for task in writers]))
    say(f"{scan.path.name}: {len(wanted):,d} of {len(scan.ids):,d} episodes")
    told = time.monotonic()
    # Front to back, all tasks at once: a disk reads a file of 13 GB once, in order.
    for block in _blocks(wanted):
        for task_id in np.unique(scan.ids[block]):
            task = layout.names[task_id]
            episodes = block[scan.ids[block] == task_id]
            taken = take(scan.path, chunk, episodes, spec(task), ignore_action_padding)
            writers[task].add(*taken)
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            say(f"{scan.path.name}: {np.searchsorted(wanted, block[-1]) / len(wanted):.0%}")


def _blocks(episodes: Int64[np.ndarray, " n"]) -> list[Int64[np.ndarray, " m"]]:
    return [episodes[i : i + _BLOCK] for i in range(0, len(episodes), _BLOCK)]
