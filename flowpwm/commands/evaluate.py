"""Play episodes with the policy of a checkpoint, and with a planner on top of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.commands import OK
from flowpwm.config import EvaluationConfig
from flowpwm.evaluate import Evaluator
from flowpwm.modes import MODES
from flowpwm.planner import Planner, PlannerConfig
from flowpwm.report import Evaluation

HELP = "play episodes with a checkpoint's policy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, how many episodes, and whether to plan."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--episodes", type=int, default=100, help="of each task")
    parser.add_argument("--seed", type=int, default=2_000_003, help="of the start states")
    parser.add_argument("--plan", action="store_true", help="a second time, planning with MPPI")
    parser.add_argument("--json", type=Path, help="file for every episode's return and length")


def run(options: argparse.Namespace) -> int:
    """Print the returns of every task, of the policy and then of the planner."""
    config, agent = checkpoint.load_agent(options.checkpoint)
    if not MODES[config.mode].trains_policy:
        raise ConfigError(f"{options.checkpoint}: mode {config.mode} trains no policy to evaluate")
    if options.seed == config.seed:
        raise ConfigError(
            f"--seed {options.seed} is the seed that {options.checkpoint} was trained with: "
            "it has seen these start states"
        )
    if options.json and not options.json.parent.is_dir():
        raise ConfigError(f"--json {options.json}: there is no folder {options.json.parent}")
    evaluator = Evaluator(config, EvaluationConfig(episodes=options.episodes, seed=options.seed))
    played = {"policy": evaluator(agent)}
    _show("policy", played["policy"])
    if options.plan:
        sizes = PlannerConfig(reward_space=config.actor_reward_space)
        played["plan"] = evaluator(Planner(agent, sizes, config.discount, options.seed))
        _show("plan", played["plan"])
    if options.json:
        rows = [_row(by, result) for by, results in played.items() for result in results]
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return OK


def _row(by: str, result: Evaluation) -> dict[str, object]:
    return {
        "task": result.task,
        "by": by,
        "protocol": result.protocol,
        "returns": result.returns.tolist(),
        "lengths": result.lengths.tolist(),
    }


def _show(by: str, evaluations: tuple[Evaluation, ...]) -> None:
    for result in evaluations:
        solved = "" if result.success is None else f"; {result.success:.0%} solved"
        print(
            f"{result.task} ({by}): return mean {result.mean:.1f}, IQM {result.iqm:.1f}, "
            f"median {result.median:.1f}, sd {result.std:.1f} over {result.n} episodes "
            f"of mean length {result.lengths.mean():.0f}{solved}"
        )
