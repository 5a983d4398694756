"""Checkpoints of training runs: whole or absent, and exactly resumable.

A folder holds `config.json`, `agent.pt` (networks), `training.pt` (optimisers, buffer, simulators,
random state; absent in checkpoints that only keep a policy) and a manifest (`flowpwm.storage`).
"""

from __future__ import annotations

import dataclasses
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowpwm.agent import Agent
from flowpwm.compose import from_dict
from flowpwm.config import RunConfig, flatten, to_dict
from flowpwm.state import TrainState
from flowpwm.storage import (
    CheckpointError,
    drop_files,
    previous,
    put_aside,
    read_json,
    read_tensors,
    verify,
    write_folder,
)

logger = logging.getLogger(__name__)

# How a run is evaluated, and in how many parts and threads it is worked through, may change between
# a checkpoint and its use. Not the device: the state of a random generator belongs to one.
_FREE = ("evaluation.", "num_threads", "microbatches", "compile", "recompute")


class OtherConfiguration(CheckpointError):
    """A checkpoint of a run with other settings; `changed` has a phrase for each."""

    def __init__(self, folder: Path, changed: list[str]) -> None:
        super().__init__(f"{folder}: written by another configuration ({', '.join(changed)})")
        self.changed = changed


def save(state: TrainState, folder: Path, *, resumable: bool = True) -> None:
    """Write `folder` as a whole; the one before it stays beside it as `<folder>.previous`.

    Without `resumable` only the networks are kept: enough to evaluate, a hundredth of the bytes.
    Raises OSError (a full disk, say) with the old checkpoint untouched and nothing left behind.
    """
    parts = state.state_dict()
    contents = {"agent.pt": parts.pop("agent"), "config.json": to_dict(state.config)}
    if resumable:
        contents["training.pt"] = parts
    about = {"epoch": state.epoch, "env_steps": state.env_steps, "score": state.score}
    write_folder(Path(folder), contents, about)


def slim(folder: Path) -> int:
    """Keep only what it takes to evaluate or to start from, of a run that will not go on.

    Buffer, optimisers and the checkpoint before go; returns the bytes that this freed. Raises
    CheckpointError.
    """
    return drop_files(Path(folder), ("training.pt",))


def load(folder: Path, config: RunConfig) -> TrainState:
    """The run as it was saved, ready to go on; falls back to the previous checkpoint if damaged.

    The damaged one is then put aside: the next save is to keep the good one until it is done.
    Raises CheckpointError naming the reason of each candidate where none can be used, and
    OtherConfiguration where it was written by another run.
    """
    folder = Path(folder)
    reasons = []
    for candidate in (folder, previous(folder)):
        if not candidate.is_dir():
            continue
        try:
            state = _load(candidate, config)
        except OtherConfiguration:
            raise  # the one before is of the same run
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        if reasons:
            logger.warning("goes on from %s: %s", candidate.name, reasons[0])
            with suppress(OSError):
                put_aside(folder)
        return state
    raise CheckpointError("; ".join(reasons) or f"{folder}: no checkpoint")


def load_agent(folder: Path) -> tuple[RunConfig, Agent]:
    """The configuration and networks of a checkpoint of either sort, for use on the CPU.

    Raises CheckpointError.
    """
    folder = Path(folder)
    if not (folder / "manifest.json").exists():
        inside = [name for name in ("best", "last") if (folder / name / "manifest.json").exists()]
        hint = f"; did you mean {folder / inside[0]}?" if inside else ""
        raise CheckpointError(f"{folder}: no checkpoint{hint}")
    verify(folder)
    # Wherever it was trained: to act is cheap, and a GPU is not everywhere.
    config = dataclasses.replace(from_dict(read_json(folder / "config.json")), device="cpu")
    agent = Agent(config).to(config.device)
    _into(folder, agent.load_state_dict, read_tensors(folder / "agent.pt"))
    return config, agent


def exists(folder: Path) -> bool:
    """Whether anything was ever saved here, valid or not."""
    return Path(folder).is_dir() or previous(Path(folder)).is_dir()


def _load(folder: Path, config: RunConfig) -> TrainState:
    manifest = verify(folder)
    if "training.pt" not in manifest["files"]:
        raise CheckpointError(f"{folder}: keeps a policy only and cannot be resumed")
    saved = from_dict(read_json(folder / "config.json"))
    old, new = flatten(saved), flatten(config)
    changed = [
        f"{key}: {old.get(key)!r} then, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(_FREE)
    ]
    if changed:
        raise OtherConfiguration(folder, changed)
    state = TrainState.start(config, weights_follow=True)
    parts = read_tensors(folder / "training.pt") | {"agent": read_tensors(folder / "agent.pt")}
    _into(folder, state.load_state_dict, parts)
    return state


def _into(folder: Path, load_state_dict: Any, values: dict[str, Any]) -> None:
    try:
        load_state_dict(values)
    except (RuntimeError, KeyError, ValueError) as error:
        lines = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: does not fit its configuration: {lines}") from error
