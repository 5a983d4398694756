"""The optimiser steps of one run, its parts compiled or as they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowpwm.agent import Agent
from flowpwm.networks import trainable
from flowpwm.precision import products_in
from flowpwm.state import TrainState
from flowpwm.updates import NETWORKS, Updates, note_step, refuse_divergence


class Alone(Updates):
    """The steps of one run."""

    def __init__(self, state: TrainState):
        self.states = [state]
        if state.config.compile:
            compile_parts(state.agent)

    def _gathered(self, values: Sequence[Any]) -> Any:
        return values[0]

    def _each(self, values: list[Any]) -> Iterator[tuple[TrainState, list[Any]]]:
        yield self.states[0], values

    def _only(self, name: str) -> AbstractContextManager[None]:
        return held(*(self._network(other) for other in NETWORKS if other != name))

    def _call(self, name: str, objective: Callable[..., tuple[Tensor, Any]], *args: Any) -> Any:
        with products_in(self.config.precision, self.config.device):
            return objective(self.states[0].agent, self.config, *args)

    def _forget(self, name: str) -> None:
        self.states[0].optimisers[name].zero_grad(set_to_none=True)

    def _backward(self, name: str, loss: Tensor) -> None:
        loss.backward(inputs=trainable(self._network(name)))

    def _step(self, name: str, losses: list[Tensor], max_norm: float) -> None:
        parameters = trainable(self._network(name))
        norm = nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
        note_step(self.states[0], name, torch.stack(losses).sum(), norm)
        if self.config.device == "cpu":  # before a step that would spoil the weights
            refuse_divergence(self.states[0])
        self.states[0].optimisers[name].step()

    def _network(self, name: str) -> nn.Module:
        return getattr(self.states[0].agent, NETWORKS[name])


def compile_parts(agent: Agent) -> None:
    """Fuse the kernels of what losses call again and again; on a GPU, record them as CUDA graphs.

    A call of a network at a time: a rollout of 16 environment steps of 8 velocity calls each would
    be one program of thousands of kernels, which takes longer to compile than to train with.
    """
    on_gpu = torch.cuda.is_available()
    dynamics = "velocity" if hasattr(agent.world_model, "velocity") else "next"
    for module, names in (
        (agent.world_model, ("encode", dynamics, "reward_logits")),
        (agent.policy, ("pre_tanh",)),
        # On a CPU a critic's products are all that counts, and no faster.
        (agent.critic, ("forward",) if on_gpu else ()),
    ):
        for name in names:
            mode = "max-autotune" if on_gpu else "default"
            fused = torch.compile(getattr(module, name), mode=mode)
            setattr(module, name, _kept(fused) if on_gpu else fused)


def _kept(fused: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # What a recorded graph puts out is overwritten when it is replayed; an integrator still needs
    # the slope before the last.
    def call(*args: Any) -> Tensor:
        return fused(*args).clone()

    return call


@contextmanager
def held(*modules: nn.Module) -> Iterator[None]:
    """Within the context no gradients are formed for the parameters of these modules.

    `backward(inputs=...)` alone would do in eager mode, at the price of keeping what they would
    need; a compiled backward pass forms the gradients of everything that wants one.
    """
    parameters = [p for module in modules for p in trainable(module)]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
