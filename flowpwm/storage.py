"""Folders that are whole or absent: temporary folder, hashes, rename; the last good one stays.

Beside its files, `.pt` for tensors and `.json` for plain values, a folder holds `manifest.json`
with their SHA-256: torch.load does not notice flipped bits by itself.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map

VERSION = 1
_FULL = (errno.ENOSPC, errno.EDQUOT)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names its path and the reason."""


def write_folder(folder: Path, contents: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write `contents`, file name to values; a folder of this name becomes `<folder>.previous`.

    `about` goes into the manifest. Raises OSError with the old folder untouched and nothing left
    behind; on a full disk the folder that the old one had replaced makes room before. What a writer
    that was killed left half done goes first: a folder has one writer at a time.
    """
    try:
        _write(folder, contents, about)
    except OSError as error:
        if error.errno not in _FULL or not (folder.is_dir() and previous(folder).is_dir()):
            raise
        shutil.rmtree(previous(folder))
        _write(folder, contents, about)


def remove_stale(parent: Path) -> None:
    """Remove what writers that were killed left half done in `parent`, which nobody writes to."""
    for stale in parent.glob(".*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)


def put_aside(folder: Path) -> Path:
    """Give a damaged folder the name `bad_<folder>`, so that it is neither read nor built upon."""
    aside = folder.with_name(f"bad_{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


def _write(folder: Path, contents: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    for stale in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, values in contents.items():
            write = _write_json if name.endswith(".json") else _write_tensors
            write(temporary / name, values)
        files = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        manifest = {"version": VERSION, **about, "files": files}
        _write_json(temporary / "manifest.json", manifest)
        _sync_folder(temporary)
        _replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def drop_files(folder: Path, names: Collection[str]) -> int:
    """Take files out of a whole folder, and the one it replaced away; returns the bytes freed.

    The manifest goes first: a crash in between leaves a file that nobody names. Raises
    CheckpointError where the folder has no readable manifest.
    """
    manifest = read_json(folder / "manifest.json")
    files = manifest.get("files", {})
    temporary = folder / f".manifest.{os.getpid()}.tmp"
    if unwanted := [name for name in files if name in names]:
        _write_json(temporary, manifest | {"files": {n: files[n] for n in files if n not in names}})
        temporary.rename(folder / "manifest.json")
        _sync_folder(folder)
    stale = [folder / name for name in unwanted]
    stale += [path for path in previous(folder).rglob("*") if path.is_file()]
    freed = sum(path.stat().st_size for path in stale if path.exists())
    for name in unwanted:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(previous(folder), ignore_errors=True)
    return freed


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a folder whose files are as they were written. Raises CheckpointError."""
    try:
        manifest = read_json(folder / "manifest.json")
        files, version = manifest["files"], manifest["version"]
    except (CheckpointError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: no readable manifest ({error})") from error
    if version != VERSION:
        raise CheckpointError(f"{folder}: version {version}, this program reads {VERSION}")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise CheckpointError(f"{path}: damaged or missing (SHA-256 differs from the manifest)")
    return manifest


def previous(folder: Path) -> Path:
    """Where the folder that `folder` replaced is kept."""
    return folder.with_name(f"{folder.name}.previous")


def read_tensors(path: Path) -> dict[str, Any]:
    """What `write_folder` wrote into a `.pt` file, on the CPU. Raises CheckpointError."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def read_json(path: Path) -> dict[str, Any]:
    """What `write_folder` wrote into a `.json` file. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error


def sha256(path: Path) -> str:
    """The hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(temporary: Path, folder: Path) -> None:
    # Two renames: a crash between them leaves the previous one, which a reader can find.
    if folder.exists():
        shutil.rmtree(previous(folder), ignore_errors=True)
        folder.rename(previous(folder))
    temporary.rename(folder)
    _sync_folder(folder.parent)


def _write_tensors(path: Path, values: Any) -> None:
    with path.open("wb") as file:
        try:
            torch.save(_no_more_than(values), file)
        except RuntimeError as error:
            # torch's own complaint about its archive hides what the file system said.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())


def _no_more_than(values: Any) -> Any:
    """The same tensors, without what their memory holds beside them: torch would save all of it."""

    def own(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.untyped_storage().nbytes() > value.nbytes:
            return value.clone()
        return value

    return tree_map(own, values)


def _write_json(path: Path, values: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
