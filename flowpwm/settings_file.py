"""Settings in a YAML file: the keys of a command line, dotted or nested, applied before its words.

preset: reacher-easy laptop flow
horizon: 16
optim: {wm_lr: 1e-4}
world_model.substeps: 4
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowpwm.checks import wrong_key
from flowpwm.safe_yaml import Document, YamlError, read_mapping

HELP = "settings from this YAML file, before those of the command line; may be given again"


class Given(NamedTuple):
    """The value that a file gives a key, and where: `file:line`."""

    value: Any
    place: str


def read_settings(paths: Iterable[Path]) -> dict[str, Given]:
    """What files set, under dotted keys; a later file's values win. Raises ConfigError."""
    found: dict[str, Given] = {}
    for path in paths:
        found |= _settings(read_mapping(path))
    return found


def located(message: str, given: Mapping[str, Given]) -> str:
    """A message about settings, followed by the places of those that it names."""
    places = [
        setting.place
        for key, setting in given.items()
        # With or without what it is a part of: `substeps` is `world_model.substeps` too.
        if re.search(rf"(?<!\w){re.escape(key)}(?!\w|\.\w)", message)
    ]
    return f"{message} ({', '.join(dict.fromkeys(places))})" if places else message


def _settings(document: Document) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for key, value, line in _leaves(document, document.values, ()):
        if problem := _problem(key, value):
            raise YamlError(document.path, line, problem)
        if key in found:
            problem = f"{key} is given twice, first at {found[key].place}"
            raise YamlError(document.path, line, problem)
        found[key] = Given(value, f"{document.path}:{line}")
    return found


def _leaves(
    document: Document, values: Mapping[str, Any], keys: tuple[str, ...]
) -> Iterator[tuple[str, Any, int]]:
    """(dotted key, value, line) of everything that is not itself a mapping."""
    for key, value in values.items():
        path = (*keys, key)
        if isinstance(value, Mapping):
            yield from _leaves(document, value, path)
        else:
            yield ".".join(path), value, document.line(path)


def _problem(key: str, value: Any) -> str:
    """Why a file may not set this, '' if it may."""
    if problem := wrong_key(key):
        return problem
    if value is None:
        return f"{key} has no value; expected '{key}: ...'"
    for text in _texts(value):
        # It could read the environment, and with it a secret, into saved files.
        if "${" in text:
            return f"{key} must be a plain value, got the interpolation {text!r}"
    return ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _texts(item)
