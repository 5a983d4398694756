"""Train one configuration in this process, with one seed or with several as one program."""

from __future__ import annotations

import argparse
import dataclasses
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from flowpwm.checks import ConfigError
from flowpwm.commands import FAILED, INTERRUPTED, OK
from flowpwm.commands.kept_run import REPORTS, KeptRun
from flowpwm.commands.settings import add_settings, parse_settings
from flowpwm.config import RunConfig, config_id
from flowpwm.preflight import require_cpus, require_memory
from flowpwm.report import Report
from flowpwm.together import Together
from flowpwm.train import train

HELP = "train one configuration; resumes from --out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings, and where results go."""
    add_settings(parser)
    parser.add_argument("--out", type=Path, help=f"folder for checkpoints and {REPORTS}")
    parser.add_argument(
        "--seeds",
        metavar="N,N,...",
        help="train these seeds as one program, each in its own folder of --out (seed-N): on a GPU "
        "that is busy with starting small kernels, almost in the time of one",
    )


def run(options: argparse.Namespace) -> int:
    """Train, print every evaluation; with --out keep every report, and checkpoints."""
    config = parse_settings(options.settings, options.config)
    if options.seeds and any(word.startswith("seed=") for word in options.settings):
        raise ConfigError("seed= and --seeds are given; leave out one of both")
    configs = [config] if options.seeds is None else _of_seeds(config, options.seeds)
    require_memory(config, runs=len(configs))
    require_cpus(config)
    torch.set_num_threads(config.num_threads)
    _refuse_mixture(options)
    runs = [KeptRun(each, _folder(options, each)) for each in configs]
    for kept in runs:
        if kept.resumed:
            where = f"{kept.last} at epoch {kept.state.epoch}"
            print(f"{where} is finished" if kept.state.finished else f"resuming {where}")
    stopping: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, _frame: stopping.append(number))
    seeds = ", ".join(str(each.seed) for each in configs)
    print(f"{config_id(config)} seed {seeds}: {config.task}, {config.epochs} epochs")
    failed = 0
    for kept, report in _reports(runs, lambda: bool(stopping)):
        if isinstance(report, Exception):
            print(f"{_name(kept, runs)}{type(report).__name__}: {report}")
            failed += 1
        elif kept.take(report):
            _show(report, _name(kept, runs))
    for kept in runs:
        if kept.state.finished and kept.state.epoch < config.epochs:
            said = f"stopped early: no better score in {config.patience} evaluations"
            print(f"{_name(kept, runs)}{said}")
    if not stopping or all(kept.state.finished for kept in runs):
        return FAILED if failed else OK
    epoch = max(kept.state.epoch for kept in runs)
    if options.out is None:
        print(f"interrupted at epoch {epoch}; without --out nothing was kept")
        return FAILED
    for kept in runs:
        kept.save()
    where = options.out if len(runs) > 1 else options.out / "last"
    print(f"interrupted at epoch {epoch}; the same command goes on from {where}")
    return INTERRUPTED


def _of_seeds(config: RunConfig, words: str) -> list[RunConfig]:
    try:
        seeds = [int(word) for word in words.split(",")]
    except ValueError as error:
        raise ConfigError(f"--seeds needs numbers with commas between, got {words!r}") from error
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds names one twice: {words}")
    if config.recompute and len(seeds) > 1:
        raise ConfigError(
            "--seeds trains one program, which cannot recompute; leave out one of both"
        )
    return [dataclasses.replace(config, seed=seed) for seed in seeds]


def _folder(options: argparse.Namespace, config: RunConfig) -> Path | None:
    if options.out is None or options.seeds is None:
        return options.out
    return options.out / f"seed-{config.seed}"


def _refuse_mixture(options: argparse.Namespace) -> None:
    """Raise ConfigError for a folder of seeds where one run is to go, and for the reverse."""
    if options.out is None:
        return
    if options.seeds is None and any(options.out.glob("seed-*/last")):
        raise ConfigError(f"--out {options.out} holds seeds of --seeds; choose another folder")
    if options.seeds is not None and (options.out / "last").exists():
        raise ConfigError(f"--out {options.out} holds a single run; choose another for --seeds")


def _reports(
    runs: Sequence[KeptRun], should_stop: Callable[[], bool]
) -> Iterator[tuple[KeptRun, Report | Exception]]:
    """Reports of every run, and why one of several ended before its time."""
    if len(runs) == 1:
        yield from ((runs[0], report) for report in train(runs[0].state, should_stop))
        return
    together = Together([kept.state for kept in runs])
    for i, report in together.train(should_stop):
        yield runs[i], report
    for i, error in together.diverged.items():
        yield runs[i], error


def _name(kept: KeptRun, runs: Sequence[KeptRun]) -> str:
    return f"seed {kept.config.seed}: " if len(runs) > 1 else ""


def _show(report: Report, name: str) -> None:
    shown = report.metrics
    returns = ", ".join(f"{e.mean:7.1f} +- {e.std:5.1f}" for e in report.evaluations)
    if len(report.evaluations) > 1:
        returns = f"{report.return_mean:7.1f} over {len(report.evaluations)} tasks"
    print(
        f"{name}epoch {report.epoch:6d}  env steps {report.env_steps:9d}  "
        f"return {returns or '-'}  "
        f"latent error {shown['model/latent_error_1']:.3f}/"
        f"{shown.get('model/latent_error_h', float('nan')):.3f}  "
        f"movement {shown['model/latent_movement']:.2f}  "
        f"reward corr {shown.get('model/reward_correlation', float('nan')):.3f}  "
        f"{shown['time/wall_s']:.0f} s",
        flush=True,
    )
