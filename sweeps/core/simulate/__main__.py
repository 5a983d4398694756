"""`python -m sweeps.core.simulate`: what a protocol of a tune sweep is worth, before it is paid.

Plays the sweep many times over trials that nobody trains, and other strategies beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import NoReturn

from flowpwm.checks import ConfigError
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import parse
from sweeps.core.definition.options import Options
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import Confirm, Screen, Select, Tune
from sweeps.core.simulate.page import Played, header, plain, table
from sweeps.core.simulate.recorded import RecordedWorld, Recording, recorded_sweep
from sweeps.core.simulate.simulated import Shape, SyntheticWorld, World
from sweeps.core.simulate.strategies import RIVALS
from sweeps.core.simulate.tournament import compare
from sweeps.core.store.durable import write_atomic
from sweeps.core.store.schema import ExitCode

SWEEP = Tune(
    name="simulate",
    tasks=("walker-stand",),
    presets="5M",
    arms={"mlp": "mlp", "flow": "flow"},
    baseline="mlp",
    space={
        "world_model.integrator": ("euler", "midpoint", "heun", "rk4"),
        "world_model.substeps": (1, 2, 4, 8),
        "wm_batch_size": (256, 512, 1024),
        "epochs": (15_000,),
    },
    fixed={"evaluation.every": 500},
    screen=Screen(trials=32),
    select=Select(top=4, seeds=(100, 101, 102)),
    confirm=Confirm(seeds=tuple(range(1000, 1008))),
)
_DESCRIPTION = """\
Try a protocol before it is paid for: the whole sweep (screen, select, confirm) is played many times
in simulated time, with the scheduler of real sweeps. Says what its pick is truly worth, how much
the report flatters it and what it cost, beside other strategies at about the same cost. Nothing is
trained; Ray is not started.
"""
_EPILOG = """\
key=value takes the words of a sweep: screen.trials screen.rungs screen.reduction screen.margin
screen.score_se select.top select.seeds confirm.seeds max_nfe, an axis of the space, a preset.
The space without any: integrator x substeps x wm_batch_size, 48 cells of 15,000 epochs.

Every number is a mean over the repetitions ± its standard error.

value     true score of the pick, in standard deviations between configurations, 0: a middling one
optimism  reported minus true score, same unit
runs      whole runs of the tuned arm that it cost, early stops counted by their share
hours     of one worker for these runs; wall h: of the whole sweep on --workers
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m sweeps.core.simulate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    shape = Shape()
    parser.add_argument("words", nargs="*", metavar="key=value", help="the protocol; see below")
    add = parser.add_argument
    add("--reps", type=_count, default=50, metavar="N", help="simulated sweeps (default 50)")
    add("--seed", type=_seed, default=0, metavar="N", help="of the worlds (default 0)")
    add("--workers", type=_count, default=8, metavar="N", help="trials at a time (default 8)")
    add(
        "--against",
        type=_rivals,
        default=tuple(RIVALS),
        metavar="NAME,...",
        help=f"rivals to play, of {', '.join(RIVALS)}, or none (default: all)",
    )
    add("--json", type=Path, metavar="FILE", help="write the results here as well")
    add("--recorded", type=Path, metavar="FOLDER", help="play the runs of this finished sweep")
    synthetic = parser.add_argument_group("synthetic runs, in standard deviations of the cells")
    for name, what in {
        "rho": "of the seeds",
        "noise": "of one evaluation",
        "anneal": "gain as the learning rate falls",
    }.items():
        default = getattr(shape, name)
        help_ = f"{what} (default {default:g})"
        synthetic.add_argument(f"--{name}", type=_size, default=default, metavar="X", help=help_)
    for name, what in {"oom": "run out of memory", "nan": "diverge"}.items():
        default = getattr(shape, name)
        help_ = f"share of cells that {what} (default {default:g})"
        synthetic.add_argument(f"--{name}", type=_share, default=default, metavar="X", help=help_)
    return parser


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None


def _size(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, got {text}")
    return value


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _rivals(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in RIVALS:
            known = ", ".join([*RIVALS, "none"])
            raise argparse.ArgumentTypeError(f"unknown rival {name!r}; known: {known}")
    return names


def main(argv: list[str] | None = None) -> int:
    """Simulate, and print a table; returns a `schema.ExitCode`."""
    try:
        return _main(_parser().parse_intermixed_args(argv))
    except (UsageError, ConfigError) as error:
        lines = error.lines if isinstance(error, UsageError) else [str(error)]
        for line in lines:
            print(f"error: {line}", file=sys.stderr)
        return ExitCode.USAGE


def _main(args: argparse.Namespace) -> int:
    if args.json is not None:
        _check_file(args.json)
    base = SWEEP if args.recorded is None else recorded_sweep(args.recorded)
    sweep, options = parse(base, args.words)
    if options != Options():
        raise UsageError("only key=value words of the sweep itself can be simulated")
    check(sweep)
    if args.recorded is None:
        shape = Shape(args.rho, args.noise, args.anneal, args.oom, args.nan)
        if shape.oom + shape.nan > 1:
            raise UsageError(f"--oom and --nan together are at most 1, got {shape.oom + shape.nan}")
        about: dict[str, float] = dataclasses.asdict(shape)

        def world(rep: int) -> World:
            return SyntheticWorld(sweep, shape, (args.seed, rep))
    else:
        recording = Recording(args.recorded)
        sweep = recording.cover(sweep)
        first = RecordedWorld(sweep, recording, (args.seed, 0))
        about = {"rho": first.rho, "runs_a_cell": first.runs_a_cell, "sd": first.sd}

        def world(rep: int) -> World:
            return RecordedWorld(sweep, recording, (args.seed, rep))

    recorded = None if args.recorded is None else str(args.recorded)
    played = Played(args.reps, args.seed, args.workers, recorded, about)
    print(header(sweep, played), flush=True)
    found = compare(sweep, world, args.against, reps=args.reps, workers=args.workers)
    print(table(found))
    if args.json is not None:
        write_atomic(args.json, json.dumps(plain(sweep, played, found), indent=1).encode())
    return ExitCode.OK if found.answered("staged") else ExitCode.ERROR


def _check_file(path: Path) -> None:
    folder = path.absolute().parent
    if path.is_dir():
        raise UsageError(f"--json {path}: is a folder")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--json {path}: no folder {folder} that can be written")


if __name__ == "__main__":
    sys.exit(main())
