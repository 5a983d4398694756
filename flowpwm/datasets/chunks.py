"""TD-MPC2's chunk files: each a TensorDict of whole episodes, pickled by `torch.save`.

A file is mapped, not loaded, and its pickle may name nothing but the classes listed here: no code
of the file is run, and the tensordict package is not needed.

An episode of T - 1 steps has T rows. Row 0 is the first observation, its action and reward are
NaN; row t holds an observation with the action and the reward that led *into* it.
"""

from __future__ import annotations

import pickle
import struct
import types
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32, Int
from torch import Tensor

from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.published import Layout

# Added by TD-MPC2's loader, not stored in the published files; says nothing that rows do not.
_IGNORED = {"episode"}


class Chunk(NamedTuple):
    """The mapped tensors of one file: E episodes of T rows, padded to the widest task."""

    obs: Float32[Tensor, "E T O"]
    action: Float32[Tensor, "E T A"]
    reward: Float32[Tensor, "E T"]
    task: Int[Tensor, "E T"]


def read_chunk(path: Path, layout: Layout) -> Chunk:
    """Map one file and check keys, types and shapes; reads no data.

    Raises DatasetError where the file is damaged, names other classes or has another layout.
    """
    fields = _fields(path, _load(path))
    if fields.keys() - _IGNORED != set(Chunk._fields):
        keys = [str(key) for key in fields]
        raise DatasetError(f"{path}: keys are {keys}; expected {list(Chunk._fields)}")
    chunk = Chunk(*(fields[key] for key in Chunk._fields))
    episodes, rows = chunk.task.shape if getattr(chunk.task, "ndim", 0) == 2 else (-1, -1)
    wanted = {
        "obs": ((episodes, rows, layout.obs_dim), (torch.float32,)),
        "action": ((episodes, rows, layout.action_dim), (torch.float32,)),
        "reward": ((episodes, rows), (torch.float32,)),
        "task": ((episodes, rows), (torch.int32, torch.int64)),
    }
    for key, (shape, kinds) in wanted.items():
        found = getattr(chunk, key)
        if not _plain(found) or found.dtype not in kinds or found.shape != shape:
            names = ["episodes", "rows", *map(str, shape[2:])]
            raise DatasetError(
                f"{path}: {key} is {_describe(found)}; expected {_name(kinds[0])} "
                f"[{', '.join(names)}], as in {layout.title}"
            )
    if rows < 2:
        raise DatasetError(f"{path}: episodes of {rows} rows; expected at least 2")
    return chunk


def verify_checksums(path: Path) -> None:
    """Read a whole file and compare the checksums it holds. Raises DatasetError on the first."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{path}: cannot be read ({_line(error)})") from error
    if damaged is not None:
        raise DatasetError(f"{path}: damaged, {damaged} does not match its checksum")


def write_chunk(
    path: Path,
    obs: Float32[Tensor, "E T O"],
    action: Float32[Tensor, "E T A"],
    reward: Float32[Tensor, "E T"],
    task: Int[Tensor, "E T"],
) -> None:
    """Write a file that tensordict, and so TD-MPC2's own loader, reads as one of its own."""
    fields = _StringOnlyDict(obs=obs, action=action, reward=reward, task=task)
    pickled = _TensorDict()
    pickled.state = {
        "_tensordict": fields,
        "_batch_size": task.shape,
        "_is_shared": False,
        "_is_memmap": False,
        "_device": torch.device("cpu"),
        "_is_locked": False,
        "_td_dim_names": None,
    }
    with path.open("wb") as file:
        torch.save(pickled, file, pickle_module=_PICKLE, pickle_protocol=2)


class _TensorDict:
    """Stands in for tensordict's class of this name, whose pickle is its attributes."""

    state: Any = None

    def __getstate__(self) -> Any:
        return self.state

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _StringOnlyDict(dict):
    """Stands in for the dictionary that tensordict up to 0.4 kept its tensors in."""


def _make_td(kind: object, state: Any) -> _TensorDict:
    """Stands in for the function that newer pickles call."""
    del kind
    made = _TensorDict()
    made.state = state
    return made


_READ = [
    (_TensorDict, "tensordict.tensordict.TensorDict"),  # up to 0.2, the published files
    (_TensorDict, "tensordict._td.TensorDict"),
    (_make_td, "tensordict._reductions._make_td"),
    (dict, "tensordict.utils._StringOnlyDict"),
]
_WRITTEN = {
    _TensorDict: ("tensordict.tensordict", "TensorDict"),
    _StringOnlyDict: ("tensordict.utils", "_StringOnlyDict"),
}


# The one in Python: the one in C cannot write a class under another name.
_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):
    """Writes the stand-ins under the names of what they stand for."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj in _WRITTEN:
            module, qualified = _WRITTEN[obj]
            self.write(pickle.GLOBAL + f"{module}\n{qualified}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


_PICKLE = types.SimpleNamespace(__name__="pickle", Pickler=_Pickler)


@contextmanager
def _allowing(allowed: list[Any]) -> Iterator[None]:
    # torch.serialization.safe_globals would add to what is allowed elsewhere in the program, where
    # tensordict's own entries decide by chance, and on leaving take away what was there before.
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _load(path: Path) -> Any:
    try:
        with _allowing(_READ):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    # A damaged pickle is a program for a small machine: it can fail in nearly every way.
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, ArithmeticError),
        *(LookupError, AttributeError, TypeError, ValueError, AssertionError, MemoryError),
        struct.error,
    ) as error:
        raise DatasetError(f"{path}: not a readable chunk file ({_line(error)})") from error


def _fields(path: Path, loaded: Any) -> Mapping[Any, Any]:
    state = loaded.state if isinstance(loaded, _TensorDict) else None
    fields = state.get("_tensordict") if isinstance(state, dict) else None
    if not isinstance(fields, dict):
        raise DatasetError(f"{path}: holds a {type(loaded).__name__}; expected a TensorDict")
    return fields


def _plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    )


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{_name(value.dtype)} {list(value.shape)}"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _line(error: BaseException) -> str:
    # torch adds paragraphs on how to trust the file after all
    text = " ".join(str(error).split())
    known = text.find("Unsupported global")
    text = text[known:] if known >= 0 else text
    return text.split(". ")[0][:200] or type(error).__name__
