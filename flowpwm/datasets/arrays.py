"""The three arrays of a task: written from front to back, read mapped."""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.manifest import TaskSummary

DTYPE = np.dtype("<f4")


def open_arrays(folder: Path, summary: TaskSummary) -> list[np.ndarray]:
    """Map obs, action and reward of one task, read-only.

    Raises DatasetError where a file is damaged or has another shape than `summary` says.
    """
    arrays = []
    for name, shape in summary.shapes().items():
        path = folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            line = " ".join(str(error).split())
            raise DatasetError(f"{path}: not a readable array ({line})") from error
        if array.dtype != DTYPE or array.shape != shape or not array.flags.c_contiguous:
            raise DatasetError(
                f"{path}: is {array.dtype} {list(array.shape)}; expected float32 {list(shape)}"
            )
        arrays.append(array)
    return arrays


class TaskWriter:
    """Writes the arrays of a task of known size, a block of episodes at a time.

    Plain writes, not a mapped file: there a full disk is an error, here it would end the program.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]):
        self.shapes = shapes
        self.bytes = sum(DTYPE.itemsize * math.prod(shape) for shape in shapes.values())
        self._hashes = {name: hashlib.sha256() for name in shapes}
        self._files: dict[str, BinaryIO] = {}
        self._returns: list[np.ndarray] = []

    def open(self, folder: Path, stack: ExitStack) -> None:
        """Begin the files; `stack` closes them, also where something is raised."""
        folder.mkdir()
        for name, shape in self.shapes.items():
            file = stack.enter_context((folder / f"{name}.npy").open("wb"))
            header = {"descr": DTYPE.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            self._files[name] = file

    def add(
        self,
        obs: Float32[np.ndarray, "n T o"],
        action: Float32[np.ndarray, "n S a"],
        reward: Float32[np.ndarray, "n S"],
    ) -> None:
        """Append episodes."""
        self._returns.append(reward.sum(axis=1, dtype=np.float64))
        for name, values in (("obs", obs), ("action", action), ("reward", reward)):
            assert values.shape[1:] == self.shapes[name][1:]
            data = np.ascontiguousarray(values, DTYPE).data
            self._hashes[name].update(data)
            self._files[name].write(data)

    def finish(self) -> TaskSummary:
        """What was written, once all of it is."""
        returns = np.concatenate(self._returns)
        episodes, rows, obs_dim = self.shapes["obs"]
        assert len(returns) == episodes
        return TaskSummary(
            episodes=episodes,
            steps=rows - 1,
            obs_dim=obs_dim,
            action_dim=self.shapes["action"][-1],
            return_mean=float(returns.mean()),
            return_min=float(returns.min()),
            return_max=float(returns.max()),
            sha256={name: digest.hexdigest() for name, digest in self._hashes.items()},
        )
