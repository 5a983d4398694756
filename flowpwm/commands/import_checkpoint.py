"""Make published weights of a world model usable: TD-MPC2's files, and PWM's."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections import Counter
from pathlib import Path

from flowpwm import tdmpc2
from flowpwm.commands import OK
from flowpwm.envs.tasks import TASK_SETS
from flowpwm.pretrained import write_imported
from flowpwm.world_models.mlp import MLPWorldModelConfig

HELP = "take the world model out of a TD-MPC2 or PWM checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the new folder, and the tasks that the weights are for."""
    parser.add_argument("file", type=Path, help="such as mt30_48M_4900000.pt")
    parser.add_argument("out", type=Path, help="a new folder, for init_world_model=")
    parser.add_argument(
        "--tasks",
        default="mt30",
        help=f"whose ids the weights use: {', '.join(TASK_SETS)}, a task, or tasks joined by '+'",
    )


def run(options: argparse.Namespace) -> int:
    """Read, check and write; print what was taken, what was not, and how a run uses it."""
    model = tdmpc2.read(options.file, options.tasks)
    write_imported(model, options.file, options.out)
    print(f"{options.file}: {model.layout}")
    tensors, parameters = Counter[str](), Counter[str]()
    for name, weight in model.weights.items():
        part = name.split(".")[0]
        tensors[part] += 1
        parameters[part] += weight.numel()
    for part in tensors:
        print(
            f"  taken    {part:18s} {tensors[part]:4d} tensors {parameters[part]:12,d} parameters"
        )
    print(f"  together {'':18s} {tensors.total():4d} tensors {parameters.total():12,d} parameters")
    for part, left in model.dropped.items():
        if left.tensors:
            print(f"  left out {part:18s} {left.tensors:4d} tensors {left.memory_bytes:12,d} bytes")
    print(f"use it with\n  {shlex.join(settings(model.config, options.out))}")
    return OK


def settings(config: MLPWorldModelConfig, folder: Path) -> list[str]:
    """What a run sets to start from an imported world model, beside its task and its dataset."""
    default = MLPWorldModelConfig()
    words = ["mode=policy_frozen", f"init_world_model={folder}", "world_model.kind=mlp"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != getattr(default, field.name):
            text = str(list(value)).replace(" ", "") if isinstance(value, tuple) else value
            words.append(f"world_model.{field.name}={text}")
    return words
