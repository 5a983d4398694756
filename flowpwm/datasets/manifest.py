"""The converted form: a folder with `dataset.json` and three memory-mapped arrays a task.

`<task>/obs.npy` [E, T, O], `<task>/action.npy` [E, T - 1, A] and `<task>/reward.npy` [E, T - 1],
all float32 and of the task's own widths: row t of action and reward led from obs[t] to obs[t + 1].
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpwm.checks import did_you_mean
from flowpwm.datasets.errors import DatasetError

FILE = "dataset.json"
FORMAT, VERSION = "flowpwm-dataset", 1


def array_shapes(
    episodes: int, steps: int, obs_dim: int, action_dim: int
) -> dict[str, tuple[int, ...]]:
    """The shapes of a task's arrays, by name."""
    return {
        "obs": (episodes, steps + 1, obs_dim),
        "action": (episodes, steps, action_dim),
        "reward": (episodes, steps),
    }


@dataclass(frozen=True)
class TaskSummary:
    """What a dataset holds of one task; returns are those of the policies that made it."""

    episodes: int
    steps: int
    obs_dim: int
    action_dim: int
    return_mean: float
    return_min: float
    return_max: float
    sha256: Mapping[str, str]  # of each array's numbers, without the header of its file

    @property
    def transitions(self) -> int:
        """Steps of all episodes."""
        return self.episodes * self.steps

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each array."""
        return array_shapes(self.episodes, self.steps, self.obs_dim, self.action_dim)


@dataclass(frozen=True)
class Manifest:
    """Where a dataset came from, and its tasks."""

    source: Mapping[str, Any]
    tasks: Mapping[str, TaskSummary]

    def identity(self) -> str:
        """A hash of the tasks' names and data; where the dataset lies does not matter."""
        hashes = {name: dict(summary.sha256) for name, summary in self.tasks.items()}
        return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()

    def only(self, tasks: Iterable[str], path: Path) -> Manifest:
        """The same for some tasks. Raises DatasetError for one that `path` does not hold."""
        chosen = {}
        for task in tasks:
            if task not in self.tasks:
                hint = did_you_mean(task, self.tasks)
                raise DatasetError(
                    f"{path}: no task {task!r}; found: {', '.join(self.tasks)}.{hint}"
                )
            chosen[task] = self.tasks[task]
        return dataclasses.replace(self, tasks=chosen)

    def __str__(self) -> str:
        """A table for reading: a line a task, and the sum of several."""
        width = max(map(len, self.tasks), default=0)

        def line(name: str, episodes: int, transitions: int) -> str:
            return f"{name:{width}s} {episodes:9,d} episodes {transitions:12,d} transitions"

        lines = [
            f"{line(name, task.episodes, task.transitions)}  return mean {task.return_mean:.1f}, "
            f"min {task.return_min:.1f}, max {task.return_max:.1f}"
            for name, task in self.tasks.items()
        ]
        if len(lines) > 1:
            held = self.tasks.values()
            lines.append(
                line("all", sum(t.episodes for t in held), sum(t.transitions for t in held))
            )
        return "\n".join(lines)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `dataset.json`."""
    values = {"format": FORMAT, "version": VERSION} | dataclasses.asdict(manifest)
    (folder / FILE).write_text(json.dumps(values, indent=1, allow_nan=False), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read `dataset.json`. Raises DatasetError where it is missing or of another form."""
    path = folder / FILE
    if not path.is_file():
        hint = ""
        if any(folder.glob("chunk_*.pt")):
            hint = "; these are chunk files: convert them with `python -m flowpwm convert-dataset`"
        raise DatasetError(f"{folder}: no dataset, {FILE} is missing{hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        form = f"{values['format']} {values['version']}"
        if form == f"{FORMAT} {VERSION}":
            tasks = {name: TaskSummary(**task) for name, task in values["tasks"].items()}
            return Manifest(values["source"], tasks)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    except (OSError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a dataset's description ({error!r})") from error
    raise DatasetError(f"{path}: is {form}; expected {FORMAT} {VERSION}")
