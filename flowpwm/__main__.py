"""One training run, evaluation or count without Ray: `python -m flowpwm train|evaluate|params`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig, compose, config_id, presets, to_dict
from flowpwm.cost import estimate
from flowpwm.evaluate import Evaluator
from flowpwm.report import Report
from flowpwm.state import TrainState
from flowpwm.train import Diverged, train

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 75


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code (2: bad input, 75: interrupted and resumable)."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    try:
        return options.command(options)
    except (ConfigError, checkpoint.CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flowpwm", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train|evaluate|params")
    settings_help = (
        f"presets and key=value overrides, e.g. cartpole-swingup laptop flow seed=3; "
        f"presets: {' '.join(presets())}"
    )

    run = commands.add_parser("train", help="train one configuration; resumes from --out")
    run.add_argument("settings", nargs="+", help=settings_help)
    run.add_argument("--out", type=Path, help="folder for checkpoints and reports.jsonl")
    run.set_defaults(command=_train)

    judge = commands.add_parser("evaluate", help="play episodes with a checkpoint's policy")
    judge.add_argument("checkpoint", type=Path)
    judge.add_argument("--episodes", type=int, default=100)
    judge.add_argument("--seed", type=int, default=2_000_003, help="of the start states")
    judge.set_defaults(command=_evaluate)

    count = commands.add_parser("params", help="true parameters, FLOPs and memory")
    count.add_argument("settings", nargs="+", help=settings_help)
    count.set_defaults(command=_params)
    return parser


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


def _train(options: argparse.Namespace) -> int:
    config = parse_settings(options.settings)
    torch.set_num_threads(config.num_threads)
    last = options.out / "last" if options.out else None
    if last is not None and checkpoint.exists(last):
        state = checkpoint.load(last, config)
        print(f"resuming {last} at epoch {state.epoch}")
    else:
        state = TrainState.start(config)
    stopping: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, _frame: stopping.append(number))
    print(f"{config_id(config)} seed {config.seed}: {config.task}, {config.epochs} epochs")
    for report in train(state, should_stop=lambda: bool(stopping)):
        _show(report)
        if options.out:
            _keep(state, report, options.out)
    if stopping and last is not None and state.epoch < config.epochs:
        checkpoint.save(state, last)
        print(f"interrupted at epoch {state.epoch}; the same command goes on from {last}")
    return INTERRUPTED if stopping else OK


def _keep(state: TrainState, report: Report, out: Path) -> None:
    if report.evaluation is None:
        return
    row = {"epoch": report.epoch, "env_steps": report.env_steps, "score": report.score}
    row |= {"return_mean": report.evaluation.mean, "returns": report.evaluation.returns.tolist()}
    out.mkdir(parents=True, exist_ok=True)
    with (out / "reports.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row | dict(report.metrics)) + "\n")
    checkpoint.save(state, out / "last")
    if report.is_best:
        checkpoint.save(state, out / "best", resumable=False)


def _show(report: Report) -> None:
    if report.evaluation is None:
        return
    shown = report.metrics
    print(
        f"epoch {report.epoch:6d}  env steps {report.env_steps:9d}  "
        f"return {report.evaluation.mean:7.1f} +- {report.evaluation.std:5.1f}  "
        f"latent error {shown['model/latent_error_1']:.3f}/"
        f"{shown.get('model/latent_error_h', float('nan')):.3f}  "
        f"movement {shown['model/latent_movement']:.2f}  "
        f"reward corr {shown.get('model/reward_correlation', float('nan')):.3f}  "
        f"{shown['time/wall_s']:.0f} s",
        flush=True,
    )


def _evaluate(options: argparse.Namespace) -> int:
    config, agent = checkpoint.load_agent(options.checkpoint)
    protocol = type(config.evaluation)(episodes=options.episodes, seed=options.seed)
    result = Evaluator(config.task, protocol)(agent)
    print(
        f"{config.task}: return mean {result.mean:.1f}, IQM {result.iqm:.1f}, "
        f"median {result.median:.1f}, sd {result.std:.1f} over {result.n} episodes "
        f"of mean length {result.lengths.mean():.0f}"
    )
    return OK


def _params(options: argparse.Namespace) -> int:
    config = parse_settings(options.settings)
    cost = estimate(config)
    for part, count in cost.parameters.items():
        print(f"{part:10s} {count:12,d} parameters")
    print(f"velocity evaluations an environment step: {cost.nfe}")
    print(f"{cost.flops_per_epoch / 1e9:.1f} GFLOP an epoch")
    print(f"{cost.host_memory_bytes / 2**20:.0f} MiB of host memory")
    values = to_dict(config)["world_model"]
    print("world model: " + ", ".join(f"{key}={value}" for key, value in values.items()))
    return OK


if __name__ == "__main__":
    sys.exit(main())
