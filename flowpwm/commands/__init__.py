"""The commands of `python -m flowpwm`; adding one is a module and a line in `COMMANDS`."""

from __future__ import annotations

import argparse
import importlib
from typing import Protocol, cast


class Command(Protocol):
    """What a module of this package offers."""

    HELP: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""
        ...

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        """Do it; returns the exit code."""
        ...


COMMANDS = {
    "train": "train",
    "evaluate": "evaluate",
    "params": "params",
    "make-dataset": "make_dataset",
    "convert-dataset": "convert_dataset",
    "import-checkpoint": "import_checkpoint",
}
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 75


def load(name: str) -> Command:
    """The command that is called `name`."""
    return cast(Command, importlib.import_module(f"flowpwm.commands.{COMMANDS[name]}"))
