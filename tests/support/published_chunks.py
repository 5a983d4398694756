"""Chunk files like the published ones, written byte by byte: neither torch.save nor our writer."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

TENSOR_DICT = b"ctensordict.tensordict\nTensorDict\n)\x81"
STRING_ONLY_DICT = b"ctensordict.utils\n_StringOnlyDict\n)\x81"
# TensorDict's other attributes, as tensordict of 2023 pickled them.
REST = (
    b"X\x0b\x00\x00\x00_batch_sizectorch\nSize\n%s\x85R"
    b"X\x0a\x00\x00\x00_is_shared\x89X\x0a\x00\x00\x00_is_memmap\x89"
    b"X\x07\x00\x00\x00_devicectorch\ndevice\nX\x03\x00\x00\x00cpu\x85R"
    b"X\x0a\x00\x00\x00_is_locked\x89X\x0d\x00\x00\x00_td_dim_namesN"
)
STORAGES = {"float32": b"FloatStorage", "int32": b"IntStorage", "float64": b"DoubleStorage"}


def random_episodes(
    ids: list[int], widths: Mapping[int, tuple[int, int]], rows: int, obs_dim: int, action_dim: int
) -> Arrays:
    """Episodes of the tasks `ids`, whose own widths are `widths[id]`; all numbers differ.

    Row 0 has NaN for action and reward; padding is 0; rewards lie in [0, 2].
    """
    rng = np.random.default_rng(len(ids) * rows)
    n = len(ids)
    obs = rng.standard_normal((n, rows, obs_dim), np.float32)
    action = rng.uniform(-1, 1, (n, rows, action_dim)).astype(np.float32)
    reward = rng.uniform(0, 2, (n, rows)).astype(np.float32)
    for i, task in enumerate(ids):
        obs[i, :, widths[task][0] :] = 0
        action[i, :, widths[task][1] :] = 0
    action[:, 0], reward[:, 0] = np.nan, np.nan
    task = np.repeat(np.array(ids, np.int32)[:, None], rows, axis=1)
    return {"obs": obs, "action": action, "reward": reward, "task": task}


def write_published(path: Path, arrays: Mapping[str, np.ndarray], smuggled: bytes = b"") -> None:
    """One file of arrays with E and T in front; `smuggled` is one more pickled value in it."""
    fields = b"".join(_text(key) + _tensor(str(i), arrays[key]) for i, key in enumerate(arrays))
    shape = next(iter(arrays.values())).shape[:2]
    state = _text("_tensordict") + STRING_ONLY_DICT + b"(" + fields + b"u" + REST % _tuple(shape)
    if smuggled:
        state += _text("_cache") + smuggled
    write_archive(path, b"\x80\x02" + TENSOR_DICT + b"}(" + state + b"ub.", arrays)


def write_archive(path: Path, pickled: bytes, arrays: Mapping[str, np.ndarray]) -> None:
    """The zip file around a pickle, every tensor at a multiple of 64 bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        records = {"data.pkl": pickled, "byteorder": sys.byteorder.encode()}
        records |= {f"data/{i}": arrays[key].tobytes() for i, key in enumerate(arrays)}
        for name, data in (records | {"version": b"3\n"}).items():
            entry = zipfile.ZipInfo(f"archive/{name}")
            assert archive.fp is not None
            used = archive.fp.tell() + 30 + len(entry.filename) + 4
            entry.extra = struct.pack("<HH", 0x4246, -used % 64) + b"Z" * (-used % 64)
            archive.writestr(entry, data)


def _tensor(storage: str, array: np.ndarray) -> bytes:
    strides = [stride // array.itemsize for stride in array.strides]
    kind = b"ctorch\n" + STORAGES[str(array.dtype)] + b"\n"
    stored = b"(" + _text("storage") + kind + _text(storage) + _text("cpu") + _int(array.size)
    arguments = b"(" + stored + b"tQ" + _int(0) + _tuple(array.shape) + _tuple(strides)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _int(number: int) -> bytes:
    return b"J" + struct.pack("<i", number)


def _tuple(numbers: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_int, numbers)) + b"t"
