"""Play episodes with the policy of a checkpoint, and with a planner on top of it."""

from __future__ import annotations

import argparse
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


def run(options: argparse.Namespace) -> int:
    """Print the returns of every task, of the policy and then of the planner."""
    config, agent = checkpoint.load_agent(options.checkpoint)
    if not MODES[config.mode].trains_policy:
        raise ConfigError(f"{options.checkpoint}: mode {config.mode} trains no policy to evaluate")
    evaluator = Evaluator(config, EvaluationConfig(episodes=options.episodes, seed=options.seed))
    _show("policy", evaluator(agent))
    if options.plan:
        sizes = PlannerConfig(reward_space=config.actor_reward_space)
        _show("plan", evaluator(Planner(agent, sizes, config.discount, options.seed)))
    return OK


def _show(by: str, evaluations: tuple[Evaluation, ...]) -> None:
    for result in evaluations:
        print(
            f"{result.task} ({by}): return mean {result.mean:.1f}, IQM {result.iqm:.1f}, "
            f"median {result.median:.1f}, sd {result.std:.1f} over {result.n} episodes "
            f"of mean length {result.lengths.mean():.0f}"
        )
