"""What may befall a run in its own process: `train(..., before=partial(at_epoch, 3, trouble))`."""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from flowpwm.alone import Alone
from flowpwm.evaluate import Evaluator
from flowpwm.state import TrainState
from sweeps.core.worker import trainable
from tests.sweeps.faults import disks


def at_epoch(epoch: int, trouble: Callable[[TrainState], None]) -> None:
    """Before the actor learns in this epoch, after the world model did."""
    real = Alone.actor

    @functools.wraps(real)
    def update(steps: Alone):
        if steps.states[0].epoch + 1 == epoch:
            trouble(steps.states[0])
        return real(steps)

    Alone.actor = update


def fill_disk(place: Path, leave: int, state: TrainState) -> None:
    """No more than so many bytes are left."""
    disks.fill(place, leave)


def break_weights(value: float, state: TrainState) -> None:
    """A weight of the reward head is no number, or infinite."""
    with torch.no_grad():
        state.agent.world_model.reward_head[-1].bias.fill_(value)


def break_loss(state: TrainState) -> None:
    """The next loss of the world model is no number, though every weight is."""
    real = state.agent.world_model.loss

    def loss(*inputs):
        value, shares = real(*inputs)
        return value * float("nan"), shares

    state.agent.world_model.loss = loss


def run_out_of_gpu(state: TrainState) -> None:
    """What torch raises where the device has no more memory."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def hold_interpreter(state: TrainState) -> None:
    """A call into C that never gives the interpreter back: no other thread runs any more."""
    ctypes.PyDLL(None).sleep(600)


def turn_clock(seconds: float, state: TrainState) -> None:
    """The wall clock jumps."""
    real = time.time
    time.time = lambda: real() + seconds


def give_up_soon() -> None:
    """Storage that fails is waited for half a second."""
    trainable.PATIENCE_S = 0.5


def play_curve(means: tuple[float, ...]) -> None:
    """Evaluations whose returns follow this curve."""
    real = Evaluator.__call__
    left = list(means)

    def call(self: Evaluator, actor: object):
        evaluations = real(self, actor)  # type: ignore[arg-type]
        mean = left.pop(0)
        for evaluation in evaluations:
            evaluation.returns[:] = mean
        return evaluations

    Evaluator.__call__ = call  # type: ignore[method-assign]


def join_group(procs: Path) -> None:
    """Become a member of a control group."""
    procs.write_text(str(os.getpid()))
