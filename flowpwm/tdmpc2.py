"""World models in the checkpoint files of TD-MPC2 and PWM, under our names of their weights.

A file is mapped, not loaded; its pickle may name nothing but tensors and plain containers, so no
code of it is run. Of what it holds the world model alone is taken: policies, Q-functions and
optimisers are not.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flowpwm.checks import ConfigError
from flowpwm.datasets.published import PUBLISHED
from flowpwm.envs import UnknownTask
from flowpwm.envs.tasks import TASK_SETS, TaskSet, task_set
from flowpwm.storage import CheckpointError
from flowpwm.world_models.mlp import MLPWorldModel, MLPWorldModelConfig

# Their networks and ours; TD-MPC2 has one encoder a kind of observation, of which `state` is ours.
_NAMES = {
    "_task_emb.": "embedding.",
    "_encoder.state.": "encoder.",
    "_encoder.": "encoder.",
    "_dynamics.": "dynamics.",
    "_reward.": "reward_head.",
}
# PWM's running statistics; of returns they do not concern the model, of its inputs and targets
# they do.
_NORMALISED = {"obs_rms": "observations", "rew_rms": "rewards"}


class Dropped(NamedTuple):
    """What was left in the file: how many tensors, and their size."""

    tensors: int
    memory_bytes: int


@dataclass(frozen=True)
class PublishedModel:
    """A world model as a file holds it; `dropped` is keyed by the first part of the names there."""

    layout: str
    config: MLPWorldModelConfig
    tasks: TaskSet
    weights: dict[str, Tensor]
    dropped: dict[str, Dropped]


def read(path: Path, tasks: str) -> PublishedModel:
    """The world model in `path`, whose task ids are those of the task set `tasks`.

    Sizes are inferred from the weights, and every shape is checked. Raises CheckpointError where
    the file is damaged, of no known layout, or holds anything but an MLP world model for these
    tasks; the message is one line with what was found and what was expected.
    """
    if tasks in PUBLISHED and tasks not in TASK_SETS:
        missing = len(PUBLISHED[tasks].names) - len(PUBLISHED[tasks].known)
        raise CheckpointError(
            f"tasks: {tasks} has {missing} tasks without an environment here; weights are read for "
            f"{', '.join(TASK_SETS)}, a task, or tasks joined by '+'"
        )
    try:
        covered = task_set(tasks)
    except (UnknownTask, ValueError) as error:
        raise CheckpointError(f"tasks: {error}") from error
    loaded = _load(path)
    layout, state = _layout(path, loaded)
    named, dropped = _select(path, state)
    if state is not loaded:
        beside = {str(key): _size(value) for key, value in loaded.items() if value is not state}
        dropped |= beside
    weights = {ours: tensor for ours, (_, tensor) in named.items()}
    if "embedding.weight" not in weights and len(covered) == 1:
        weights["embedding.weight"] = torch.empty(1, 0)  # single-task models have none
    config = _infer(path, weights, tasks, covered)
    _check_masks(path, state.get("_action_masks"), tasks, covered)
    _compare(path, named, weights, config, covered)
    for ours, (theirs, tensor) in named.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {theirs} holds a value that is not finite")
        weights[ours] = tensor.clone(memory_format=torch.contiguous_format)
    return PublishedModel(layout, config, covered, weights, dropped)


class _RunningMeanStd:
    """Stands in for PWM's class of this name, whose pickle is its attributes."""


def _load(path: Path) -> Mapping[str, Any]:
    stand_in = (_RunningMeanStd, "pwm.utils.running_mean_std.RunningMeanStd")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        with torch.serialization.safe_globals([stand_in]):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    # A damaged pickle is a program for a small machine: it can fail in nearly every way.
    except (
        *(OSError, zipfile.BadZipFile, RuntimeError, EOFError, pickle.UnpicklingError),
        *(ArithmeticError, LookupError, AttributeError, TypeError, ValueError),
        *(AssertionError, MemoryError),
    ) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({_line(error)})") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged, {damaged} does not match its checksum")
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}; expected a dictionary")
    return loaded


def _layout(path: Path, loaded: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The name of the file's layout, and the dictionary in it with the world model's weights."""
    for key, what in _NORMALISED.items():
        if loaded.get(key) is not None:
            raise CheckpointError(
                f"{path}: {key} is set, expected None: {what} are not normalised here"
            )
    nested = (loaded[key] for key in ("model", "world_model") if isinstance(loaded.get(key), dict))
    state = next(nested, loaded)
    if not any(str(key).startswith(tuple(_NAMES)) for key in state):
        raise CheckpointError(
            f"{path}: keys are {', '.join(map(str, list(state)[:8]))}; expected a world model's "
            f"({', '.join(name + '*' for name in _NAMES)}), under 'model', 'world_model' or bare"
        )
    if any(str(key).startswith("_detach_Qs_params.") for key in state):
        return "TD-MPC2, from November 2024 on", state
    if any(str(key).startswith("_encoder.state.") for key in state):
        return "TD-MPC2, before November 2024", state
    return "PWM", state


def _select(
    path: Path, state: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Tensor]], dict[str, Dropped]]:
    """The world model's tensors by our names, each with its name in the file, and the rest."""
    named: dict[str, tuple[str, Tensor]] = {}
    dropped: dict[str, Dropped] = {}
    for key, value in state.items():
        theirs = str(key)
        prefix = next((name for name in _NAMES if theirs.startswith(name)), None)
        if prefix is None:
            group = theirs.split(".")[0]
            before, more = dropped.get(group, Dropped(0, 0)), _size(value)
            dropped[group] = Dropped(*(a + b for a, b in zip(before, more, strict=True)))
            continue
        if not isinstance(value, Tensor) or value.layout is not torch.strided:
            raise CheckpointError(
                f"{path}: {theirs} is a {type(value).__name__}; expected a tensor"
            )
        if value.dtype is not torch.float32:
            raise CheckpointError(f"{path}: {theirs} is {value.dtype}; expected torch.float32")
        ours = _NAMES[prefix] + theirs.removeprefix(prefix)
        if ours in named:
            raise CheckpointError(f"{path}: both {named[ours][0]} and {theirs}; expected one")
        named[ours] = theirs, value.detach()
    return named, dropped


def _infer(
    path: Path, weights: Mapping[str, Tensor], tasks: str, covered: TaskSet
) -> MLPWorldModelConfig:
    """The sizes of the networks, of which those that tasks have are compared with theirs."""
    encoder, dynamics, reward = (
        _widths(path, weights, name) for name in ("encoder", "dynamics", "reward_head")
    )
    embedding = weights.get("embedding.weight")
    if embedding is None or embedding.ndim != 2:
        shape = "missing" if embedding is None else list(embedding.shape)
        raise CheckpointError(
            f"{path}: the task embedding is {shape}; expected [{len(covered)}, any] for {tasks}"
        )
    task_dim, latent_dim = embedding.shape[1], dynamics[-1]
    for name, found, expected in (
        ("tasks", len(embedding), len(covered)),
        ("observation components", encoder[0] - task_dim, covered.obs_dim),
        ("action components", dynamics[0] - latent_dim - task_dim, covered.action_dim),
    ):
        if found != expected:
            raise CheckpointError(f"{path}: {found} {name}; expected {expected}, those of {tasks}")
    try:
        return MLPWorldModelConfig(
            task_set=tasks,
            task_dim=task_dim,
            latent_dim=latent_dim,
            encoder_units=tuple(encoder[1:-1]),
            units=tuple(dynamics[1:-1]),
            num_bins=reward[-1],
            observation_transform="none",
            reconstruction_weight=0.0,  # no decoder and no continuation head in these files
            continuation_weight=0.0,
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_masks(path: Path, masks: object, tasks: str, covered: TaskSet) -> None:
    """Files of newer TD-MPC2 say which action components tasks have: other ids would show here."""
    if not isinstance(masks, Tensor):
        return
    found = [int(row.sum()) for row in masks] if masks.ndim == 2 else []
    expected = [spec.action_dim for spec in covered.specs]
    if found != expected:
        raise CheckpointError(
            f"{path}: its tasks have {found} action components; expected {expected}, as in {tasks}"
        )


def _widths(path: Path, weights: Mapping[str, Tensor], network: str) -> list[int]:
    """The width of a network's input and of each of its layers."""
    layers = []
    for i in count():
        layer = weights.get(f"{network}.{i}.weight")
        if layer is None:
            break
        if layer.ndim != 2:
            raise CheckpointError(
                f"{path}: weights of {network} have shape {list(layer.shape)}; expected 2 axes"
            )
        layers.append(layer)
    if not layers:
        raise CheckpointError(f"{path}: no weights of {network}.0; expected an MLP world model")
    return [layers[0].shape[1], *(len(layer) for layer in layers)]


def _compare(
    path: Path,
    named: Mapping[str, tuple[str, Tensor]],
    weights: Mapping[str, Tensor],
    config: MLPWorldModelConfig,
    covered: TaskSet,
) -> None:
    """Every weight of the model that `config` describes is there in its shape, and no other."""
    with torch.device("meta"):
        expected = MLPWorldModel(config, covered).state_dict()
    for name, tensor in weights.items():
        theirs = named[name][0] if name in named else name
        if name not in expected:
            raise CheckpointError(f"{path}: {theirs} is no weight of such a world model")
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {theirs} is {list(tensor.shape)}; expected {list(expected[name].shape)}"
            )
    missing = [name for name in expected if name not in weights]
    if missing:
        raise CheckpointError(f"{path}: {len(missing)} weights are missing, such as {missing[0]}")


def _size(value: Any) -> Dropped:
    """Tensors in a value, however nested, and their bytes."""
    if isinstance(value, Tensor):
        return Dropped(1, value.numel() * value.element_size())
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return Dropped(0, 0)
    sizes = [_size(item) for item in value]
    return Dropped(sum(s.tensors for s in sizes), sum(s.memory_bytes for s in sizes))


def _line(error: BaseException) -> str:
    # torch adds paragraphs on how to trust the file after all
    text = " ".join(str(error).split())
    known = text.lower().find("unsupported global")
    return text[max(known, 0) :].split(". ")[0][:200] or type(error).__name__
