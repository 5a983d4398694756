"""What several benchmarks take from a command line, refused before anything is measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flowpwm.checks import ConfigError
from flowpwm.commands.settings import parse_settings
from flowpwm.preflight import require_device


def count(text: str) -> int:
    """A whole number of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def refuse_wrong(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End with code 2 where a training of these settings cannot start on this machine."""
    try:
        require_device(parse_settings(words))
    except ConfigError as error:
        parser.error(str(error))
