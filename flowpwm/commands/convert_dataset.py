"""Make a dataset to train on from TD-MPC2's chunk files (chunk_0.pt, chunk_1.pt, ...)."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from flowpwm.commands import OK
from flowpwm.datasets import convert
from flowpwm.datasets.published import PUBLISHED

HELP = "chunk files of TD-MPC2 to a dataset for the offline modes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, where the dataset goes, and which tasks."""
    parser.add_argument("chunks", nargs="+", type=Path, help="their folder, or the files")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--task-set",
        default="mt30",
        help=f"what the task ids mean: {', '.join(PUBLISHED)}, or tasks joined by '+'",
    )
    parser.add_argument("--task", nargs="+", metavar="TASK", help="only these tasks")
    parser.add_argument("--verify", action="store_true", help="compare the files' checksums first")
    parser.add_argument(
        "--ignore-action-padding",
        action="store_true",
        help="accept anything beyond the components of a task's action",
    )


def run(options: argparse.Namespace) -> int:
    """Convert, and print what the dataset holds."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half written goes
    manifest = convert(
        options.chunks,
        options.out,
        options.task_set,
        options.task,
        verify=options.verify,
        ignore_action_padding=options.ignore_action_padding,
        say=lambda line: print(line, flush=True),
    )
    print(manifest)
    return OK
