"""The kinds of world model; adding one is a file and a line in `WORLD_MODELS`."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowpwm.envs.tasks import TaskSet
from flowpwm.experience import Sequences
from flowpwm.world_models.base import WorldModel, WorldModelConfig
from flowpwm.world_models.flow import FlowWorldModel, FlowWorldModelConfig
from flowpwm.world_models.mlp import MLPWorldModel, MLPWorldModelConfig


class Kind(NamedTuple):
    """A configuration schema and the model that it describes."""

    config: type[Any]
    model: type[Any]


WORLD_MODELS: dict[str, Kind] = {
    "mlp": Kind(MLPWorldModelConfig, MLPWorldModel),
    "flow": Kind(FlowWorldModelConfig, FlowWorldModel),
}


def make_world_model(config: WorldModelConfig, tasks: TaskSet) -> WorldModel:
    """The untrained model that `config` describes, sized for `tasks`."""
    return WORLD_MODELS[config.kind].model(config, tasks)


__all__ = ["WORLD_MODELS", "Sequences", "WorldModel", "WorldModelConfig", "make_world_model"]
