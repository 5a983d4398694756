"""Data sets and weights that configurations name, looked at before anything starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.manifest import read_manifest
from flowpwm.envs.tasks import task_set
from flowpwm.preflight import preflight
from flowpwm.pretrained import check_fits
from flowpwm.storage import CheckpointError


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
        if config.dataset:
            folder = Path(config.dataset)
            read_manifest(folder).only(task_set(config.task).names, folder)
        if config.init_world_model:
            tasks = task_set(config.world_model.task_set or config.task)
            check_fits(config.world_model, tasks, Path(config.init_world_model))
    except (ConfigError, DatasetError, CheckpointError) as error:
        return [str(error)]
    return []
