"""World models that runs start from: folders of imported weights, and training checkpoints."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from flowpwm.envs import UnknownTask
from flowpwm.envs.tasks import TASK_SETS, TaskSet, task_set
from flowpwm.storage import (
    CheckpointError,
    read_json,
    read_tensors,
    sha256,
    verify,
    write_folder,
)
from flowpwm.tdmpc2 import PublishedModel
from flowpwm.world_models import WorldModel, WorldModelConfig

logger = logging.getLogger(__name__)
_IMPORTED, _NETWORKS = "world_model.pt", "agent.pt"
_PREFIX = "world_model."  # of a world model's weights among a checkpoint's networks
# Options that weights are made for; any other may differ between a model's training and its use.
_ARCHITECTURE = (
    "kind",
    "latent_dim",
    "encoder_units",
    "units",
    "num_bins",
    "task_dim",
    "observation_transform",
    "activation",
    "velocity_head",
    "objective",
    "chart",
)
# Parts that a model may have or lack.
_OPTIONAL = ("decoder", "inverse_head", "target_encoder", "continuation_head")


def write_imported(model: PublishedModel, source: Path, folder: Path) -> None:
    """Write weights that were read from the file `source` into a new folder, for `load_into`.

    Raises CheckpointError where there is something of this name already.
    """
    if folder.exists():
        raise CheckpointError(f"{folder}: exists already; expected the name of a new folder")
    config = {
        "world_model": dataclasses.asdict(model.config),
        "source": {"file": source.name, "sha256": sha256(source), "layout": model.layout},
    }
    write_folder(folder, {_IMPORTED: model.weights, "config.json": config}, {})


def check_fits(config: WorldModelConfig, tasks: TaskSet | None, folder: Path) -> None:
    """Compare a configuration with the world model in a folder, without reading its weights.

    `tasks` are those that the configured model covers, None where they are not to be compared.
    Raises CheckpointError with all that differs, as found and as expected.
    """
    _compare(_describe(folder), config, tasks)


def load_into(
    model: WorldModel, folder: Path, tasks: TaskSet | None = None, *, frozen: bool = False
) -> None:
    """Copy the world model in a folder, imported or of a training checkpoint, into `model`.

    A head that only one of them has stays as it is in `model`, or is left out, and the log says so;
    a running average of the encoder that the folder lacks begins at its encoder. `tasks` are those
    that `model` covers; by default what `config.task_set` names, and not compared where that is
    empty. Raises CheckpointError where the folder is damaged or holds a model of another
    architecture, as found and as expected, or where a `frozen` model would keep a continuation head
    that never learned anything.
    """
    stored = _describe(folder)
    verify(folder)
    if tasks is None and model.config.task_set:
        tasks = task_set(model.config.task_set)
    _compare(stored, model.config, tasks)
    weights, own = read_tensors(folder / stored.file), model.state_dict()
    if stored.file == _NETWORKS:
        weights = {
            name.removeprefix(_PREFIX): value
            for name, value in weights.items()
            if name.startswith(_PREFIX)
        }
    for head in _OPTIONAL:
        here, there = _part(own, head), _part(weights, head)
        if here and not there:
            if head == "continuation_head" and frozen:
                raise CheckpointError(
                    f"{folder}: has no head that tells final states, and this run trains none; "
                    "set world_model.continuation_weight=0"
                )
            if head == "target_encoder":
                weights |= {f"target_{k}": v for k, v in _part(weights, "encoder").items()}
                continue
            weights |= here
            logger.warning("%s has no %s: it stays as initialised", folder, head)
        elif there and not here:
            weights = {name: value for name, value in weights.items() if name not in there}
            logger.info("%s has a %s that this run does not use", folder, head)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise CheckpointError(f"{folder}: does not fit its configuration: {lines}") from error


class _Stored(NamedTuple):
    """What a folder says of its world model."""

    folder: Path
    file: str
    options: Mapping[str, Any]
    tasks: TaskSet


def _describe(folder: Path) -> _Stored:
    if not (folder / "manifest.json").is_file():
        inside = [name for name in ("best", "last") if (folder / name / "manifest.json").is_file()]
        hint = f"; did you mean {folder / inside[0]}?" if inside else ""
        raise CheckpointError(f"{folder}: no world model{hint}")
    config = read_json(folder / "config.json")
    try:
        options = config["world_model"]
        tasks = task_set(options.get("task_set") or config["task"])
    except (KeyError, AttributeError, TypeError, UnknownTask, ValueError) as error:
        raise CheckpointError(
            f"{folder}: config.json describes no world model ({error})"
        ) from error
    file = _IMPORTED if (folder / _IMPORTED).is_file() else _NETWORKS
    return _Stored(folder, file, options, tasks)


def _compare(stored: _Stored, config: WorldModelConfig, tasks: TaskSet | None) -> None:
    wanted = json.loads(json.dumps(dataclasses.asdict(config)))
    differences = [
        f"world_model.{key} is {stored.options.get(key)}, expected {wanted.get(key)}"
        for key in _ARCHITECTURE
        if stored.options.get(key) != wanted.get(key)
    ]
    if tasks is not None and tasks.names != stored.tasks.names:
        differences.append(f"its tasks are {_title(stored.tasks)}, expected {_title(tasks)}")
    if differences:
        raise CheckpointError(f"{stored.folder}: {'; '.join(differences)}")


def _title(tasks: TaskSet) -> str:
    named = (name for name, names in TASK_SETS.items() if names == tasks.names)
    return next(named, "+".join(tasks.names))


def _part(weights: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if name.startswith(f"{head}.")}
