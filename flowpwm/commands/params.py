"""Count what a configuration has and needs."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from flowpwm.commands import OK
from flowpwm.commands.settings import add_settings, parse_settings
from flowpwm.config import RunConfig, to_dict
from flowpwm.cost import estimate
from flowpwm.world_models.mlp import MLPWorldModelConfig

HELP = "true parameters, FLOPs and memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of a run."""
    add_settings(parser)


def _mlp_twin(config: RunConfig) -> RunConfig | None:
    """The same run with an MLP world model of the same sizes; None if it has one."""
    own = config.world_model
    if isinstance(own, MLPWorldModelConfig):
        return None
    names = [field.name for field in dataclasses.fields(MLPWorldModelConfig)]
    shared: dict[str, Any] = {name: getattr(own, name) for name in names}
    shared["kind"] = "mlp"
    return dataclasses.replace(config, world_model=MLPWorldModelConfig(**shared))


def run(options: argparse.Namespace) -> int:
    """Print the counts part by part."""
    config = parse_settings(options.settings, options.config)
    cost = estimate(config)
    for part, count in cost.parameters.items():
        print(f"{part:12s} {count:12,d} parameters")
    print(f"velocity evaluations an environment step: {cost.nfe}")
    print(f"{cost.flops_per_epoch / 1e9:.1f} GFLOP an epoch")
    print(f"{cost.host_memory_bytes / 2**20:.0f} MiB of host memory")
    if cost.device_memory_bytes:
        print(f"{cost.device_memory_bytes / 2**20:.0f} MiB of device memory")
    twin = _mlp_twin(config)
    if twin is not None:
        own, other = cost.parameters["dynamics"], estimate(twin).parameters["dynamics"]
        print(f"dynamics: {own / other - 1:+.1%} against the MLP of these sizes ({other:,d})")
    values = to_dict(config)["world_model"]
    print("world model: " + ", ".join(f"{key}={value}" for key, value in values.items()))
    return OK
