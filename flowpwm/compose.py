"""How presets and overrides compose into a configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from flowpwm.checks import ConfigError, did_you_mean, one_of
from flowpwm.config import MISSING, RunConfig, flat_items
from flowpwm.envs import ENVS
from flowpwm.envs.tasks import TASK_SETS
from flowpwm.policies import POLICIES
from flowpwm.world_models import WORLD_MODELS


@cache
def presets() -> dict[str, dict[str, Any]]:
    """The named blocks of `presets.yaml`, and one for every task."""
    text = resources.files("flowpwm").joinpath("presets.yaml").read_text(encoding="utf-8")
    blocks = cast(dict[str, dict[str, Any]], OmegaConf.to_container(OmegaConf.create(text)))
    return blocks | {task: {"task": task} for task in (*ENVS, *TASK_SETS)}


def compose(preset: str = "", overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Merge presets left to right, then dotted overrides, into a checked configuration.

    >>> compose("cheetah-run 48M flow", {"world_model.substeps": 8})

    Raises ConfigError with one clear line for an unknown preset or key, a wrong type, a value out
    of range, a missing task, or an option of a kind of model that is not in use.
    """
    layers = []
    for name in preset.split():
        layers.append(OmegaConf.create(_block(name)))
    changes = OmegaConf.create({})
    for key, value in (overrides or {}).items():
        if value == MISSING:  # a merge would pass over it and keep the value before
            raise ConfigError(f"{key} must be set, got {value!r}")
        if isinstance(value, tuple):
            value = list(value)
        try:
            OmegaConf.update(changes, key, value, force_add=True)
        except (OmegaConfBaseException, TypeError, ValueError) as error:
            raise ConfigError(f"cannot set {key}={value!r}: {_first_line(error)}") from error
    try:
        merged = OmegaConf.merge(*layers, changes)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        several = [
            key for key, value in (overrides or {}).items() if isinstance(value, list | dict)
        ]
        raise ConfigError(
            f"a list stands where a group of options is expected, or the other way round: one of "
            f"{', '.join(several)}"
        ) from error
    return _build(merged)


def _block(name: str) -> dict[str, Any]:
    # Joined tasks and a user's own environment are too many to list; `RunConfig` checks them.
    if "+" in name or ":" in name:
        return {"task": name}
    one_of("preset", name, presets())
    return presets()[name]


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_dict`; raises ConfigError as `compose` does."""
    return _build(OmegaConf.create(dict(values)))


def _build(raw: Any) -> RunConfig:
    values = cast(dict[str, Any], OmegaConf.to_container(raw, resolve=False))
    for key, value in flat_items(values):
        # An interpolation could read the environment, and with it a secret, into saved files.
        if isinstance(value, str) and "${" in value:
            raise ConfigError(f"{key} must be a plain value, got the interpolation {value!r}")
        if value is None or value == MISSING:
            raise ConfigError(f"{key} must be set, got {value!r}")
    if "task" not in values:
        raise ConfigError(f"task must be set; known: {', '.join(ENVS)}")
    defaults = RunConfig(
        task=next(iter(ENVS)),
        world_model=_default(values, "world_model", WORLD_MODELS, "mlp"),
        policy=_default(values, "policy", POLICIES, "gaussian"),
    )
    return _replace(defaults, values, "")


def _default(values: dict[str, Any], part: str, table: Mapping[str, Any], kind: str) -> Any:
    """The default instance of the configuration class that `values` asks for by its `kind`."""
    options = values.get(part, {})
    if not isinstance(options, dict):
        raise ConfigError(f"{part} is a group of options, got {options!r}")
    kind = options.get("kind", kind)
    one_of(f"{part}.kind", kind, table)
    return table[kind].config()


def _replace(default: Any, values: dict[str, Any], prefix: str) -> Any:
    """A copy of the dataclass `default` with `values`, each of exactly its default's type."""
    known = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise ConfigError(_unknown(name, key, default))
        if not dataclasses.is_dataclass(known[key]):
            changes[key] = _typed(name, value, known[key])
        elif isinstance(value, dict):
            changes[key] = _replace(known[key], value, f"{name}.")
        else:
            raise ConfigError(f"{name} is a group of options, got {value!r}")
    return dataclasses.replace(default, **changes)


INTEGERS = 2**63  # as tensors and columns of tables hold them
TYPE_NAMES = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def _typed(name: str, value: Any, default: Any) -> Any:
    # No silent conversions: "16" or true for an integer is a slip that should be seen.
    if isinstance(default, tuple):
        if not isinstance(value, list):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return tuple(_typed(f"{name}[{i}]", item, default[0]) for i, item in enumerate(value))
    expected = type(default)
    if type(value) is int and abs(value) >= INTEGERS:
        raise ConfigError(f"{name} must be below 2**63, got {value}")
    if type(value) is int and expected is float:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"{name} must be {TYPE_NAMES[expected]}, got {value!r}")
    return value


def _unknown(name: str, key: str, default: Any) -> str:
    part = name.rpartition(".")[0]
    for table in (WORLD_MODELS, POLICIES):
        if not any(isinstance(default, entry.config) for entry in table.values()):
            continue
        for other, entry in table.items():
            if key in {f.name for f in dataclasses.fields(entry.config)}:
                return f"{name} is an option of {part}.kind={other}, but {part}.kind={default.kind}"
    known = [f.name for f in dataclasses.fields(default)]
    return f"unknown key {name}.{did_you_mean(key, known)} Known here: {', '.join(known)}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
