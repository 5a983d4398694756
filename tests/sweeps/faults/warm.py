"""Imported by the process that tests fork from: a run's own late imports cost seconds a child."""

from __future__ import annotations

import gc
import json

import torch

from flowpwm.compose import from_dict
from flowpwm.state import TrainState
from flowpwm.train import train
from tests.sweeps.faults import processes

torch.set_num_threads(1)
_state = TrainState.start(from_dict(json.loads(processes.tiny_job().config_json)))
next(train(_state))
_state.close()
gc.freeze()  # a collection in a child would copy every page it looks at
