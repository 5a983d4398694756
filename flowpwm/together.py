"""Runs of one configuration and several seeds, trained as one program.

Their networks are the same but for the numbers in them, so each layer's parameters are stacked
along a leading seed axis and every product of matrices becomes a batched one (`torch.func`). A GPU
that is busy with starting small kernels starts as many for eight seeds as for one. Each run keeps
its own random numbers, experience, environments, evaluations and checkpoints: what it learns is
what it would have learned by itself, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from flowpwm.agent import Agent
from flowpwm.checks import ConfigError
from flowpwm.config import RunConfig, flatten
from flowpwm.networks import trainable
from flowpwm.precision import products_in
from flowpwm.report import Report
from flowpwm.state import TrainState
from flowpwm.train import learn, look, never
from flowpwm.updates import NETWORKS, Diverged, Updates, note_step, refuse_divergence


class Together:
    """Trains `states`, which differ in their seeds only.

    A run that diverges leaves the others, who go on; `diverged` tells why, by its place in
    `states`. So does one that is finished earlier, for want of a better score. Runs that are
    behind, as after a crash between two saves, catch up with the others first.
    """

    def __init__(self, states: Sequence[TrainState]):
        _refuse_unlike(states)
        self.states = list(states)
        self.diverged: dict[int, Diverged] = {}

    def train(self, should_stop: Callable[[], bool] = never) -> Iterator[tuple[int, Report]]:
        """Yield reports with the place of their run in `states`, as `flowpwm.train.train` does.

        `should_stop` is asked before every epoch. A run is whole whenever its report is yielded,
        and all of them are when the generator ends.
        """
        group: list[int] = []
        program: Program | None = None
        while (behind := self._behind()) and not should_stop():
            if program is None or behind != group:
                group = behind
                program = Program([self.states[i] for i in group])
            learn(program.states, program)
            for i in group:
                try:
                    refuse_divergence(self.states[i])
                except Diverged as error:
                    self.leave(i, error)
                    continue
                report = look(self.states[i])
                if report is not None:
                    yield i, report

    def leave(self, run: int, why: Diverged) -> None:
        """Have a run taken for diverged, whatever its weights are."""
        self.diverged[run] = why

    def _behind(self) -> list[int]:
        """Who has done the fewest epochs of those that go on."""
        epochs = {
            i: state.epoch
            for i, state in enumerate(self.states)
            if i not in self.diverged and not state.finished
        }
        return [i for i, epoch in epochs.items() if epoch == min(epochs.values())]


def _refuse_unlike(states: Sequence[TrainState]) -> None:
    if states[0].config.recompute:
        raise ConfigError(
            "recompute=true is for one run: a program of several lends its layers their parameters "
            "for the time of a call, and has taken them back when a rollout is computed again"
        )
    reference = flatten(states[0].config)
    for other in states[1:]:
        values = flatten(other.config)
        keys = sorted(values.keys() | reference.keys())
        unlike = [k for k in keys if k != "seed" and values.get(k) != reference.get(k)]
        if unlike:
            raise ConfigError(
                f"runs of one program differ in their seeds only, not in {', '.join(unlike)}"
            )
    seeds = [state.config.seed for state in states]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"runs of one program need seeds of their own, got {seeds}")


class Program(Updates):
    """The steps of several runs at once; what is gathered has a leading axis, one entry a run."""

    def __init__(self, states: Sequence[TrainState]):
        self.states = list(states)
        agents = [state.agent for state in states]
        self._template = agents[0]
        self._stacks = {
            name: _Stack(
                [getattr(agent, network) for agent in agents],
                [state.optimisers[name] for state in states if name in state.optimisers],
            )
            for name, network in NETWORKS.items()
        }

    def _gathered(self, values: Sequence[Any]) -> Any:
        return tree_map(lambda *rows: torch.stack(rows), *values)

    def _each(self, values: list[Any]) -> Iterator[tuple[TrainState, list[Any]]]:
        for i, state in enumerate(self.states):
            yield state, tree_map(lambda value, i=i: value[i], values)

    def _only(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()  # `_call` gives the others without their gradients

    def _call(self, name: str, objective: Callable[..., tuple[Tensor, Any]], *args: Any) -> Any:
        function = _Function(self._template, self.config, objective)
        parameters: dict[str, Tensor] = {}
        for other, stack in self._stacks.items():
            for key, value in stack.parameters.items():
                kept = value if other == name else value.detach()
                parameters[f"agent.{NETWORKS[other]}.{key}"] = kept

        def one(own: dict[str, Tensor], *own_args: Any) -> Any:
            return functional_call(function, own, own_args)

        with products_in(self.config.precision, self.config.device):
            return vmap(one)(parameters, *args)

    def _forget(self, name: str) -> None:
        self._stacks[name].forget()

    def _backward(self, name: str, loss: Tensor) -> None:
        loss.sum().backward(inputs=self._stacks[name].leaves)

    def _step(self, name: str, losses: list[Tensor], max_norm: float) -> None:
        norm = self._stacks[name].clip(max_norm)
        loss = torch.stack(losses).sum(0)
        # Who diverges is told at the end of the epoch: the others have their step under way.
        for i, state in enumerate(self.states):
            note_step(state, name, loss[i], norm[i])
        self._stacks[name].step(self.states[0].optimisers[name].param_groups[0]["lr"])


class _Function(nn.Module):
    """A function of an agent, as a module: `functional_call` lends its parameters to a call."""

    def __init__(self, agent: Agent, config: RunConfig, objective: Callable[..., Any]):
        super().__init__()
        self.agent, self.config, self.objective = agent, config, objective

    def forward(self, *args: Any) -> Any:
        """The objective's result."""
        return self.objective(self.agent, self.config, *args)


class _Stack:
    """One network of all runs: parameters [S, ...], of which each run's own are views.

    So are the moments of the runs' optimisers: what is stepped here is stepped there, and each run
    can be looked at, saved and trained on by itself at any time.
    """

    def __init__(self, modules: Sequence[nn.Module], optimisers: Sequence[torch.optim.Adam]):
        self.parameters: dict[str, Tensor] = {}
        for rows in zip(*(module.named_parameters() for module in modules), strict=True):
            name, first = rows[0]
            whole = torch.stack([own.detach() for _, own in rows])
            for (_, own), row in zip(rows, whole, strict=True):
                own.data = row
            self.parameters[name] = whole.requires_grad_(first.requires_grad)
        self.leaves = [p for p in self.parameters.values() if p.requires_grad]
        # None where this mode does not train it.
        self._optimiser = self._whole_optimiser(modules, optimisers) if optimisers else None

    def _whole_optimiser(
        self, modules: Sequence[nn.Module], optimisers: Sequence[torch.optim.Adam]
    ) -> torch.optim.Adam:
        defaults = optimisers[0].defaults
        whole = torch.optim.Adam(
            self.leaves, lr=defaults["lr"], betas=defaults["betas"], fused=True
        )
        own = zip(*(trainable(module) for module in modules), strict=True)
        for leaf, parameters in zip(self.leaves, own, strict=True):
            states = [o.state[p] for o, p in zip(optimisers, parameters, strict=True)]
            for state, parameter in zip(states, parameters, strict=True):
                if not state:  # nothing was stepped yet
                    state["step"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
            step = states[0]["step"].clone()
            whole.state[leaf]["step"] = step
            for state in states:
                state["step"] = step  # they have taken as many
            for name in ("exp_avg", "exp_avg_sq"):
                moment = torch.stack([state[name] for state in states])
                whole.state[leaf][name] = moment
                for state, row in zip(states, moment, strict=True):
                    state[name] = row
        return whole

    def forget(self) -> None:
        """Drop the gradients of the last step."""
        assert self._optimiser is not None
        self._optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def clip(self, max_norm: float) -> Tensor:
        """Scale each run's gradients to at most this norm; returns their norms before, [S].

        As `torch.nn.utils.clip_grad_norm_` does for one.
        """
        gradients = [leaf.grad for leaf in self.leaves if leaf.grad is not None]
        each = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients]
        norm = torch.linalg.vector_norm(torch.stack(each), dim=0)
        share = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(share.view(-1, *[1] * (gradient.ndim - 1)))
        return norm

    def step(self, lr: float) -> None:
        """An optimiser's step with this learning rate."""
        assert self._optimiser is not None
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._optimiser.step()
