"""A run's configuration from the words of a command line."""

from __future__ import annotations

import argparse
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from flowpwm.checks import ConfigError
from flowpwm.compose import compose, presets
from flowpwm.config import RunConfig


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The words that `parse_settings` reads."""
    parser.add_argument(
        "settings",
        nargs="+",
        help="presets and key=value overrides, e.g. cartpole-swingup laptop flow seed=3; "
        f"presets: {' '.join(presets())}",
    )


def parse_settings(words: list[str]) -> RunConfig:
    """Presets are words, overrides are key=value (values as in YAML); raises ConfigError."""
    names = [word for word in words if "=" not in word]
    overrides: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if equals:
            try:
                value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))
            except (YAMLError, OmegaConfBaseException) as error:
                raise ConfigError(f"cannot read {word!r} as key=value") from error
            assert isinstance(value, dict)
            overrides[key] = value["value"]
    return compose(" ".join(names), overrides)
