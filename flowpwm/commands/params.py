"""Count what a configuration has and needs."""

from __future__ import annotations

import argparse

from flowpwm.commands import OK
from flowpwm.commands.settings import add_settings, parse_settings
from flowpwm.config import to_dict
from flowpwm.cost import estimate

HELP = "true parameters, FLOPs and memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of a run."""
    add_settings(parser)


def run(options: argparse.Namespace) -> int:
    """Print the counts part by part."""
    config = parse_settings(options.settings)
    cost = estimate(config)
    for part, count in cost.parameters.items():
        print(f"{part:12s} {count:12,d} parameters")
    print(f"velocity evaluations an environment step: {cost.nfe}")
    print(f"{cost.flops_per_epoch / 1e9:.1f} GFLOP an epoch")
    print(f"{cost.host_memory_bytes / 2**20:.0f} MiB of host memory")
    values = to_dict(config)["world_model"]
    print("world model: " + ", ".join(f"{key}={value}" for key, value in values.items()))
    return OK
