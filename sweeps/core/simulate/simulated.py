"""Trials that nobody trains: what a run would score and cost, from curves made like those of PWM.

Returns are in standard deviations of the configurations' effects, so a synthetic value of 1 is a
configuration one standard deviation better than the middle.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from flowpwm.config import RunConfig
from sweeps.core.definition.axes import Axis, Range
from sweeps.core.definition.tune import Tune
from sweeps.core.protocol.grid import cell_key
from sweeps.core.protocol.plan import Plan, compose_trial
from sweeps.core.store.schema import SCORE_WINDOW

#: Minutes for 1,000 epochs on one GPU: without a velocity, and for each velocity evaluation more
#: (fitted to published runs of 15,000 epochs).
MLP_MINUTES, NFE_MINUTES = 3.0, 0.55
#: What learning is worth from the first epoch to the last of the longest run, and what part of
#: such a run it takes to get to 1 - 1/e of it; the latter's logarithm varies from cell to cell.
LEARNED, PACE, PACE_SPREAD = 4.0, 0.2, 0.3
EPISODES = 10  # of an evaluation with the noise of a shape
#: Share of the variance between cells that is made of main effects of the axes; the rest is a
#: cell's own.
MAIN_EFFECTS = 0.5


@dataclass(frozen=True)
class Run:
    """What a trial would do if nothing stopped it.

    `epochs` are those after which it evaluates, `returns` what it then finds: NaN from where the
    run diverged. It takes `hours`. One that runs out of host memory does so at a share of itself.
    """

    epochs: Int[np.ndarray, " E"]
    returns: Float[np.ndarray, " E"]
    hours: float
    out_of_memory_at: float | None = None


class World(Protocol):
    """Decides what every trial of a simulated sweep would do.

    `middle` is the score of a middling configuration, `sd` the standard deviation between them.
    """

    middle: float
    sd: float

    def run(self, plan: Plan) -> Run:
        """The run of one configuration on one seed."""
        ...

    def truth(self, plan: Plan) -> float:
        """The score that the configuration reaches in expectation over seeds; NaN: it fails."""
        ...


@dataclass(frozen=True)
class Shape:
    """What the curves are like, in standard deviations of the configurations' effects.

    `rho` is the standard deviation over seeds, `noise` that of an evaluation of 10 episodes,
    `anneal` what a run gains as its learning rate falls to the end. `oom` and `nan` are shares of
    cells that run out of memory or diverge.
    """

    rho: float = 1.0
    noise: float = 0.3
    anneal: float = 1.0
    oom: float = 0.05
    nan: float = 0.05


class SyntheticWorld:
    """Curves that depend on the seed of the world, the cell and the seed of the trial alone."""

    sd = 1.0

    def __init__(self, sweep: Tune, shape: Shape, seed: tuple[int, ...]) -> None:
        self._shape = shape
        self._seed = seed
        self._baseline = sweep.baseline
        config = longest(sweep)
        self._longest = config.epochs
        self.middle = _end(self._curve(config, evaluated(config), 0.0, PACE))
        # A longer run gains by its curve; a single value has nothing to differ from.
        self._axes = {
            key: axis
            for key, axis in sweep.space.items()
            if key != "epochs" and (isinstance(axis, Range) or len(axis) > 1)
        }

    def run(self, plan: Plan) -> Run:
        """The run of one configuration on one seed."""
        config, shape = plan.config, self._shape
        rng = self._rng("run", cell_key(plan.cell), plan.arm, str(config.seed))
        epochs = evaluated(config)
        reached = self._effect(plan) + rng.normal(0.0, shape.rho)
        returns = self._curve(config, epochs, reached, self._pace(plan))
        noise = shape.noise * math.sqrt(EPISODES / config.evaluation.episodes)
        returns += rng.normal(0.0, noise, len(epochs))
        breaks_at = rng.uniform(0.1, 0.9)
        fate = self._fate(plan)
        if fate == "nan":
            returns[epochs > breaks_at * config.epochs] = np.nan
        minutes = (MLP_MINUTES + NFE_MINUTES * plan.cost.nfe) * config.epochs / 1000
        return Run(epochs, returns, minutes / 60, breaks_at if fate == "oom" else None)

    def truth(self, plan: Plan) -> float:
        """The expected score at the end; NaN for a cell that does not get there."""
        if self._fate(plan):
            return math.nan
        epochs = evaluated(plan.config)
        return _end(self._curve(plan.config, epochs, self._effect(plan), self._pace(plan)))

    def _curve(
        self, config: RunConfig, epochs: Int[np.ndarray, " E"], effect: float, pace: float
    ) -> Float[np.ndarray, " E"]:
        learned = -np.expm1(-epochs / (pace * self._longest))
        return (LEARNED + effect) * learned + self._shape.anneal * fallen(config, epochs)

    def _pace(self, plan: Plan) -> float:
        return PACE * math.exp(self._rng("pace", cell_key(plan.cell)).normal(0.0, PACE_SPREAD))

    def _effect(self, plan: Plan) -> float:
        if plan.arm == self._baseline:
            return 0.0
        own = self._rng("own", cell_key(plan.cell)).normal()
        main = [self._main(key, axis, plan.cell[key]) for key, axis in self._axes.items()]
        if not main:
            return own
        together = sum(main) / math.sqrt(len(main))
        return math.sqrt(MAIN_EFFECTS) * together + math.sqrt(1 - MAIN_EFFECTS) * own

    def _main(self, key: str, axis: Axis, value: Any) -> float:
        """The effect of a value: over its axis the mean is 0 and the variance 1."""
        rng = self._rng("main", key)
        if not isinstance(axis, Range):
            effects = rng.normal(size=len(axis))
            return float((effects - effects.mean())[axis.index(value)] / effects.std())
        bounds = (value, axis.low, axis.high)
        where, low, high = map(math.log, bounds) if axis.log else bounds
        # One smooth hill, wherever its top is.
        return math.sqrt(2) * math.cos(2 * math.pi * ((where - low) / (high - low) - rng.uniform()))

    def _fate(self, plan: Plan) -> str:
        if plan.arm == self._baseline:
            return ""
        drawn = self._rng("fate", cell_key(plan.cell)).uniform()
        if drawn < self._shape.oom:
            return "oom"
        return "nan" if drawn < self._shape.oom + self._shape.nan else ""

    def _rng(self, *names: str) -> np.random.Generator:
        return np.random.default_rng((*self._seed, *(zlib.crc32(name.encode()) for name in names)))


def evaluated(config: RunConfig) -> Int[np.ndarray, " E"]:
    """The epochs after which a run evaluates; the last one is among them."""
    every = config.evaluation.every
    return np.unique(np.append(np.arange(every, config.epochs + 1, every), config.epochs))


def fallen(config: RunConfig, epochs: Int[np.ndarray, " E"]) -> Float[np.ndarray, " E"]:
    """The share of its fall that the learning rate has behind it, 0 where it is constant."""
    if config.optim.schedule == "constant":
        return np.zeros(len(epochs))
    start = config.optim.decay_start
    share = np.maximum(0.0, epochs / config.epochs - start) / (1 - start)
    return (1 - np.cos(math.pi * share)) / 2 if config.optim.schedule == "cosine" else share


def longest(sweep: Tune) -> RunConfig:
    """The configuration of the longest run of a sweep, but for the candidate's own axes."""
    axis = sweep.space.get("epochs", ())
    values = axis.corners() if isinstance(axis, Range) else axis
    cell = {"epochs": int(max(values))} if values else {}
    return compose_trial(sweep, sweep.baseline, "screen", cell, sweep.screen.seed)


def _end(returns: Float[np.ndarray, " E"]) -> float:
    return float(returns[-SCORE_WINDOW:].mean())
