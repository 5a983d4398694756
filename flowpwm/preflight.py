"""The files and the device that a configuration names, looked at before anything is spent on it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import torch

from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig
from flowpwm.cost import estimate
from flowpwm.datasets import DatasetError, described
from flowpwm.pretrained import check_fits
from flowpwm.storage import CheckpointError


def preflight(config: RunConfig) -> None:
    """Raise ConfigError, naming key and folder, where a folder is not what its key asks for."""
    for key, folder, sign, what in (
        ("dataset", config.dataset, "dataset.json", "a converted dataset"),
        ("init_world_model", config.init_world_model, "manifest.json", "a world model"),
    ):
        # Not those of pathlib, which raise where a name is too long to be one.
        if folder and not os.path.isfile(os.path.join(folder, sign)):
            state = f"holds no {sign}" if os.path.isdir(folder) else "is not a folder"
            raise ConfigError(f"{key}: {folder} {state}; expected the folder of {what}")
    try:
        if config.init_world_model:
            check_fits(config.world_model, config.covered_tasks, Path(config.init_world_model))
        if config.dataset:
            described(Path(config.dataset), config.covered_tasks, config.task_names)
    except (CheckpointError, DatasetError) as error:
        raise ConfigError(str(error)) from error


def require_memory(config: RunConfig, runs: int = 1) -> None:
    """Raise ConfigError where so many runs in one process need more memory than there is free."""
    needed, free = estimate(config).host_bytes_of(runs), psutil.virtual_memory().available
    if needed > free:
        whose = "the run needs" if runs == 1 else f"{runs} runs together need"
        raise ConfigError(
            f"{whose} about {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are "
            "free here; choose a smaller preset or buffer_capacity"
        )


def require_cpus(config: RunConfig) -> None:
    """Raise ConfigError for more threads than this process may use CPUs: they would only wait."""
    if config.num_threads > (cpus := len(psutil.Process().cpu_affinity() or [0])):
        raise ConfigError(
            f"num_threads must be at most {cpus}, the CPUs here, got {config.num_threads}"
        )


def require_device(config: RunConfig) -> None:
    """Raise ConfigError where the device is not in this machine, which need not plan the run."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device is cuda, but torch {torch.__version__} finds no GPU here; use device=cpu"
        )
