"""The ways to train: where experience comes from, and which networks learn from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Mode:
    """`init` says whether a run starts from the world model in `init_world_model`."""

    online: bool
    trains_world_model: bool
    trains_policy: bool
    init: Literal["optional", "required", "refused"]
    doc: str


MODES: Mapping[str, Mode] = {
    "online": Mode(True, True, True, "optional", "acts in the environment and learns from it"),
    "pretrain": Mode(False, True, False, "optional", "a world model alone, from a dataset"),
    "policy_frozen": Mode(
        False, False, True, "required", "a policy in a world model kept as it is"
    ),
    "policy_finetune": Mode(False, True, True, "required", "a policy in a world model tuned along"),
    "joint": Mode(False, True, True, "refused", "both from scratch, from a dataset"),
}
