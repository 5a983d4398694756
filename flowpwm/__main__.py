"""One training run, evaluation, count or conversion without Ray: `python -m flowpwm COMMAND`."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from typing import NoReturn

import torch

from flowpwm import commands
from flowpwm.checkpoint import CheckpointError
from flowpwm.checks import ConfigError, without_secrets
from flowpwm.datasets import DatasetError
from flowpwm.envs.base import SimulationFailed
from flowpwm.updates import Diverged


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code (2: bad input, 75: interrupted and resumable)."""
    parser = _parser()
    options, later = parser.parse_known_args(arguments)
    # Settings may stand on either side of an option, which argparse itself does not let them.
    if any(word.startswith("-") for word in later) or (later and "settings" not in options):
        parser.error(f"unrecognized arguments: {' '.join(later)}")
    if later:
        options.settings += later
    torch.set_num_threads(1)
    try:
        return options.run(options)
    except (ConfigError, CheckpointError, DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return commands.USAGE
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return commands.FAILED
    except (SimulationFailed, FloatingPointError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return commands.FAILED
    except KeyboardInterrupt:
        print("interrupted; nothing half done was kept", file=sys.stderr)
        return commands.INTERRUPTED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Tell what is wrong with the words, and end with code 2."""
        super().error(without_secrets(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m flowpwm", description=__doc__)
    sub = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in commands.COMMANDS:
        command = commands.load(name)
        one = sub.add_parser(name, help=command.HELP, description=command.__doc__)
        command.add_arguments(one)
        one.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    atexit.register(gc.freeze)  # the interpreter's last collections would take half a second
    sys.exit(main())
