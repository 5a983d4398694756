"""The files and the device that a configuration names, looked at before anything is spent on it."""

from __future__ import annotations

from pathlib import Path

import torch

from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.datasets import DatasetError, read_manifest
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
    try:
        if config.init_world_model:
            check_fits(config.world_model, config.covered_tasks, Path(config.init_world_model))
        if config.dataset:
            folder = Path(config.dataset)
            read_manifest(folder).only(config.task_names, folder)
    except (CheckpointError, DatasetError) as error:
        raise ConfigError(str(error)) from error


def require_device(config: RunConfig) -> None:
    """Raise ConfigError where the device is not in this machine, which need not plan the run."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device is cuda, but torch {torch.__version__} finds no GPU here; use device=cpu"
        )
