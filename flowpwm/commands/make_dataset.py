"""Write chunk files like TD-MPC2's from episodes of trained policies, noisy ones and random ones.

The tasks are those of the checkpoints and of --task; what has no checkpoint is played at random.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32

from flowpwm import checkpoint
from flowpwm.checks import ConfigError
from flowpwm.commands import OK
from flowpwm.datasets.record import Act, Recording, record
from flowpwm.modes import MODES

HELP = "chunk files like TD-MPC2's from trained and random policies"
_DEFAULTS = Recording()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the files go, who plays, and how much."""
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        metavar="DIR",
        help="whose policies play their own tasks; several take turns (also joined by ',')",
    )
    parser.add_argument("--task", nargs="+", default=[], metavar="TASK", help="further tasks")
    for name, text in (
        ("task_set", "what the task ids mean, and the widths"),
        ("episodes", "of each task"),
        ("random_share", "of the episodes that act at random"),
        ("noise", "largest noise on a policy's actions; it runs evenly up from 0"),
        ("correlation", "of what is random in an action with that of the step before"),
        ("seed", "of start states and noise"),
        ("num_envs", "episodes played side by side"),
        ("chunk_episodes", "in a file, at most"),
        ("num_threads", "of the simulator"),
    ):
        default = getattr(_DEFAULTS, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"{text} ({default})")


def run(options: argparse.Namespace) -> int:
    """Play, and write the files."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half written goes
    values = {name: getattr(options, name) for name in vars(_DEFAULTS)}
    folders = [folder for word in options.checkpoint for folder in word.split(",")]
    policies: dict[str, list[Act]] = {task: [] for task in options.task}
    for folder in folders:
        for task, act in _policies(Path(folder)).items():
            policies.setdefault(task, []).append(act)
    if not policies:
        raise ConfigError("make-dataset needs --checkpoint or --task")
    record(
        options.out,
        policies,
        Recording(**values),
        say=lambda line: print(line, flush=True),
        about={"checkpoints": folders},
    )
    print(f"now: python -m flowpwm convert-dataset {options.out} --out DATASET", end="")
    print("" if options.task_set == "mt30" else f" --task-set {options.task_set}")
    return OK


def _policies(folder: Path) -> dict[str, Act]:
    # The deterministic policy of a checkpoint, for every task that it was trained on.
    config, agent = checkpoint.load_agent(folder)
    if not MODES[config.mode].trains_policy:
        raise ConfigError(f"{folder}: mode {config.mode} trains no policy to play")

    def policy(task: str) -> Act:
        index = agent.tasks.index(task)
        action_dim = agent.tasks.specs[index].action_dim

        def act(obs: Float32[np.ndarray, "B o"]) -> Float[np.ndarray, "B a"]:
            padded = np.pad(obs, ((0, 0), (0, agent.tasks.obs_dim - obs.shape[1])))
            ids = torch.full((len(obs),), index, device=config.device)
            return agent.act(padded, ids)[:, :action_dim].cpu().numpy()

        return act

    return {task: policy(task) for task in config.task_names}
