"""Train one configuration in this process."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
from pathlib import Path

import torch

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.commands import FAILED, INTERRUPTED, OK
from flowpwm.commands.settings import add_settings, parse_settings
from flowpwm.config import RunConfig, config_id
from flowpwm.modes import MODES
from flowpwm.preflight import require_memory
from flowpwm.report import Report
from flowpwm.state import TrainState
from flowpwm.train import train

REPORTS = "reports.jsonl"
HELP = "train one configuration; resumes from --out"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Settings, and where results go."""
    add_settings(parser)
    parser.add_argument("--out", type=Path, help=f"folder for checkpoints and {REPORTS}")


def run(options: argparse.Namespace) -> int:
    """Train, print every evaluation; with --out keep every report, and checkpoints."""
    config = parse_settings(options.settings, options.config)
    require_memory(config)
    torch.set_num_threads(config.num_threads)
    last = options.out / "last" if options.out else None
    if options.out:
        # Before anything is spent; the lock is gone with this process.
        options.out.mkdir(parents=True, exist_ok=True)
        lock = (options.out / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"--out {options.out}: another training writes there") from error
    if last is not None and checkpoint.exists(last):
        state = _resumed(last, config)
        print(f"resuming {last} at epoch {state.epoch}")
        _forget_after(state.epoch, options.out / REPORTS)
    else:
        state = TrainState.start(config)
    stopping: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, _frame: stopping.append(number))
    print(f"{config_id(config)} seed {config.seed}: {config.task}, {config.epochs} epochs")
    for report in train(state, should_stop=lambda: bool(stopping)):
        if options.out:
            _write_row(report, options.out / REPORTS)
        if report.epoch % config.evaluation.every and report.epoch < config.epochs:
            continue
        _show(report)
        if options.out:
            _keep(state, report, options.out)
    if state.finished and state.epoch < config.epochs:
        print(f"stopped early: no better score in {config.patience} evaluations")
    if not stopping or state.finished:
        return OK
    if last is None:
        print(f"interrupted at epoch {state.epoch}; without --out nothing was kept")
        return FAILED
    checkpoint.save(state, last)
    print(f"interrupted at epoch {state.epoch}; the same command goes on from {last}")
    return INTERRUPTED


def _resumed(last: Path, config: RunConfig) -> TrainState:
    try:
        return checkpoint.load(last, config)
    except checkpoint.OtherConfiguration as error:
        raise ConfigError(
            f"--out {last.parent} holds another run ({'; '.join(error.changed)}); choose another "
            "folder, or give the settings that it has to go on with it"
        ) from error


def _forget_after(epoch: int, reports: Path) -> None:
    """Drop rows of what is trained once more: they were newer than the checkpoint."""
    if reports.exists():
        rows = reports.read_text(encoding="utf-8").splitlines(keepends=True)
        # A row that was cut off by a kill has no end, and is the newest.
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["epoch"] <= epoch]
        whole = reports.with_name(f".{reports.name}.tmp")
        whole.write_text("".join(kept), encoding="utf-8")
        os.replace(whole, reports)


def _write_row(report: Report, reports: Path) -> None:
    row = {"epoch": report.epoch, "env_steps": report.env_steps, "score": report.score}
    row["returns"] = {e.task: e.returns.tolist() for e in report.evaluations}
    row["lengths"] = {e.task: e.lengths.tolist() for e in report.evaluations}
    with reports.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | dict(report.metrics)) + "\n")


def _keep(state: TrainState, report: Report, out: Path) -> None:
    checkpoint.save(state, out / "last")
    if report.is_best or not MODES[state.config.mode].trains_policy:
        checkpoint.save(state, out / "best", resumable=False)


def _show(report: Report) -> None:
    shown = report.metrics
    returns = ", ".join(f"{e.mean:7.1f} +- {e.std:5.1f}" for e in report.evaluations)
    if len(report.evaluations) > 1:
        returns = f"{report.return_mean:7.1f} over {len(report.evaluations)} tasks"
    print(
        f"epoch {report.epoch:6d}  env steps {report.env_steps:9d}  return {returns or '-'}  "
        f"latent error {shown['model/latent_error_1']:.3f}/"
        f"{shown.get('model/latent_error_h', float('nan')):.3f}  "
        f"movement {shown['model/latent_movement']:.2f}  "
        f"reward corr {shown.get('model/reward_correlation', float('nan')):.3f}  "
        f"{shown['time/wall_s']:.0f} s",
        flush=True,
    )
