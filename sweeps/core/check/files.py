"""Data sets and weights that configurations name, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Iterable

from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.preflight import preflight


def missing_files(configs: Iterable[RunConfig]) -> list[str]:
    """A line for every folder that is not there, or has not what a configuration needs of it."""
    needs = {
        (c.dataset, c.init_world_model, c.task, repr(c.world_model)): c
        for c in configs
        if c.dataset or c.init_world_model
    }
    return list(dict.fromkeys(line for config in needs.values() for line in _problems(config)))


def _problems(config: RunConfig) -> list[str]:
    try:
        preflight(config)
    except ConfigError as error:
        return [str(error)]
    return []
