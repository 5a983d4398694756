"""Checkpoints that are whole or absent: temporary folder, hashes, rename; the last good one stays.

A folder holds `config.json`, `agent.pt` (networks), `training.pt` (optimisers, buffer, simulators,
random state; absent in checkpoints that only keep a policy) and `manifest.json` with their SHA-256:
torch.load does not notice flipped bits by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from flowpwm.agent import Agent
from flowpwm.config import RunConfig, flatten, from_dict, to_dict
from flowpwm.state import TrainState

VERSION = 1
# How a run is evaluated may change between a checkpoint and its use.
_FREE = ("evaluation.",)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names its path and the reason."""


def save(state: TrainState, folder: Path, *, resumable: bool = True) -> None:
    """Write `folder` as a whole; the one before it stays beside it as `<folder>.previous`.

    Without `resumable` only the networks are kept: enough to evaluate, a hundredth of the bytes.
    Raises OSError (a full disk, say) with the old checkpoint untouched and nothing left behind.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        parts = state.state_dict()
        _write_tensors(temporary / "agent.pt", parts.pop("agent"))
        if resumable:
            _write_tensors(temporary / "training.pt", parts)
        _write_json(temporary / "config.json", to_dict(state.config))
        files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        about = {"version": VERSION, "epoch": state.epoch, "env_steps": state.env_steps}
        _write_json(temporary / "manifest.json", about | {"score": state.score, "files": files})
        _sync_folder(temporary)
        _replace(temporary, folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(folder: Path, config: RunConfig) -> TrainState:
    """The run as it was saved, ready to go on; falls back to the previous checkpoint if damaged.

    Raises CheckpointError naming the reason of each candidate where none can be used, also where
    it was written by another configuration.
    """
    folder = Path(folder)
    reasons = []
    for candidate in (folder, _previous(folder)):
        if not candidate.is_dir():
            continue
        try:
            return _load(candidate, config)
        except CheckpointError as error:
            reasons.append(str(error))
    raise CheckpointError("; ".join(reasons) or f"{folder}: no checkpoint")


def load_agent(folder: Path) -> tuple[RunConfig, Agent]:
    """The configuration and networks of a checkpoint of either sort; raises CheckpointError."""
    folder = Path(folder)
    if not (folder / "manifest.json").exists():
        inside = [name for name in ("best", "last") if (folder / name / "manifest.json").exists()]
        hint = f"; did you mean {folder / inside[0]}?" if inside else ""
        raise CheckpointError(f"{folder}: no checkpoint{hint}")
    _verify(folder)
    config = from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    agent = Agent(config)
    _into(folder, agent.load_state_dict, _read_tensors(folder / "agent.pt"))
    return config, agent


def exists(folder: Path) -> bool:
    """Whether anything was ever saved here, valid or not."""
    return Path(folder).is_dir() or _previous(Path(folder)).is_dir()


def _load(folder: Path, config: RunConfig) -> TrainState:
    manifest = _verify(folder)
    if "training.pt" not in manifest["files"]:
        raise CheckpointError(f"{folder}: keeps a policy only and cannot be resumed")
    saved = from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    old, new = flatten(saved), flatten(config)
    changed = [
        f"{key}: {old.get(key)!r} then, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(_FREE)
    ]
    if changed:
        raise CheckpointError(f"{folder}: written by another configuration ({', '.join(changed)})")
    state = TrainState.start(config)
    parts = _read_tensors(folder / "training.pt") | {"agent": _read_tensors(folder / "agent.pt")}
    _into(folder, state.load_state_dict, parts)
    return state


def _into(folder: Path, load_state_dict: Any, values: dict[str, Any]) -> None:
    try:
        load_state_dict(values)
    except (RuntimeError, KeyError, ValueError) as error:
        lines = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: does not fit its configuration: {lines}") from error


def _verify(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files, version = manifest["files"], manifest["version"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: no readable manifest ({error})") from error
    if version != VERSION:
        raise CheckpointError(f"{folder}: version {version}, this program reads {VERSION}")
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            raise CheckpointError(f"{path}: damaged or missing (SHA-256 differs from the manifest)")
    return manifest


def _previous(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.previous")


def _replace(temporary: Path, folder: Path) -> None:
    # Two renames: a crash between them leaves the previous one, which `load` finds.
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    temporary.rename(folder)
    _sync_folder(folder.parent)


def _write_tensors(path: Path, values: dict[str, Any]) -> None:
    with path.open("wb") as file:
        torch.save(values, file)
        file.flush()
        os.fsync(file.fileno())


def _read_tensors(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
