"""The files that a configuration names, looked at before anything is spent on it."""

from __future__ import annotations

from pathlib import Path

import torch

from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.datasets import DatasetError, open_dataset
from flowpwm.envs.tasks import task_set
from flowpwm.pretrained import check_fits
from flowpwm.storage import CheckpointError


def preflight(config: RunConfig) -> None:
    """Raise ConfigError, naming key and folder, where a folder is not what its key asks for."""
    for key, folder, sign, what in (
        ("dataset", config.dataset, "dataset.json", "a converted dataset"),
        ("init_world_model", config.init_world_model, "manifest.json", "a world model"),
    ):
        if folder and not (Path(folder) / sign).is_file():
            state = "is not a folder" if not Path(folder).is_dir() else f"holds no {sign}"
            raise ConfigError(f"{key}: {folder} {state}; expected the folder of {what}")
    tasks = task_set(config.world_model.task_set or config.task)
    try:
        if config.init_world_model:
            check_fits(config.world_model, tasks, Path(config.init_world_model))
        if config.dataset:
            names = task_set(config.task).names
            open_dataset(Path(config.dataset), tasks, names, torch.device("cpu"))
    except (CheckpointError, DatasetError) as error:
        raise ConfigError(str(error)) from error
