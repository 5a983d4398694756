"""A run's configuration from the words of a command line and from files."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowpwm.checks import ConfigError, refuse_wrong_key
from flowpwm.compose import compose, presets
from flowpwm.config import RunConfig
from flowpwm.safe_yaml import YamlError, read_value
from flowpwm.settings_file import HELP, Given, located, read_settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The words that `parse_settings` reads."""
    parser.add_argument(
        "settings",
        nargs="*",
        help="presets and key=value overrides, e.g. cartpole-swingup laptop flow seed=3; "
        f"presets: {' '.join(presets())}",
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, action="append", default=[], help=HELP
    )


def parse_settings(words: Sequence[str], files: Iterable[Path] = ()) -> RunConfig:
    """A configuration from presets, key=value overrides and files of them. Raises ConfigError.

    A file has the keys of the command line, and its presets under `preset`. What the command line
    says comes after what files say, and wins.
    """
    given = read_settings(files)
    names = _presets(given)
    overrides: dict[str, Any] = {key: setting.value for key, setting in given.items()}
    overrides.pop("preset", None)
    for word in words:
        key, equals, text = word.partition("=")
        refuse_wrong_key(key)
        if equals:
            overrides[key] = _value(key, text)
            given.pop(key, None)  # what is wrong with it is not the file's fault
        else:
            names.append(word)
    try:
        return compose(" ".join(names), overrides)
    except ConfigError as error:
        raise ConfigError(located(str(error), given)) from error


def _presets(given: Mapping[str, Given]) -> list[str]:
    if "preset" not in given:
        return []
    value, place = given["preset"]
    if not isinstance(value, str):
        raise ConfigError(f"preset must be names with blanks between, got {value!r} ({place})")
    return value.split()


def _value(key: str, text: str) -> Any:
    try:
        return read_value(text, key)
    except YamlError as error:
        raise ConfigError(f"cannot read {key}={text!r}: {error.problem}") from error
