"""Strategies against each other in the same simulated worlds, with standard errors."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweeps.core.definition.tune import Tune
from sweeps.core.simulate.simulated import World
from sweeps.core.simulate.simulator import Planner
from sweeps.core.simulate.strategies import RIVALS, Budget, Outcome, Setting, staged


@dataclass(frozen=True)
class Estimate:
    """A mean over repetitions with its standard error (NaN for a single one)."""

    mean: float
    se: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """The estimate from one value a repetition; NaN from none."""
        if not values:
            return cls(math.nan, math.nan)
        se = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), se)

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.se:.2f}"


@dataclass(frozen=True)
class Comparison:
    """Outcomes of every strategy in the same worlds, and the value of the best cell of these."""

    outcomes: dict[str, list[Outcome | None]]
    best: Estimate | None

    def estimate(self, strategy: str, measure: str) -> Estimate:
        """The mean of a measure over the repetitions that came to an answer."""
        found = [getattr(each, measure) for each in self.outcomes[strategy] if each is not None]
        return Estimate.of(found)

    def gain(self, strategy: str) -> Estimate:
        """By how much the staged sweep's pick is better, world by world."""
        pairs = zip(self.outcomes["staged"], self.outcomes[strategy], strict=True)
        return Estimate.of([ours.value - its.value for ours, its in pairs if ours and its])

    def answered(self, strategy: str) -> int:
        """Repetitions that came to an answer."""
        return sum(each is not None for each in self.outcomes[strategy])


def compare(
    sweep: Tune,
    world: Callable[[int], World],
    rivals: Sequence[str] = tuple(RIVALS),
    *,
    reps: int,
    workers: int,
) -> Comparison:
    """Play every strategy once in each of `reps` worlds; rivals spend what ours did on average."""
    planner = Planner(sweep)
    settings = [
        Setting(dataclasses.replace(sweep, search_seed=rep), world(rep), planner, workers)
        for rep in range(reps)
    ]
    outcomes: dict[str, list[Outcome | None]] = {"staged": [staged(each) for each in settings]}
    done = [each for each in outcomes["staged"] if each is not None]
    if done:
        screened = sum(each.screened for each in done)
        share = sum(each.screen_runs for each in done) / screened if screened else 1.0
        budget = Budget(statistics.fmean(each.runs for each in done), share)
        outcomes |= {name: [RIVALS[name].play(s, budget) for s in settings] for name in rivals}
    return Comparison(outcomes, _best(sweep, planner, settings))


def _best(sweep: Tune, planner: Planner, settings: Sequence[Setting]) -> Estimate | None:
    """The value of the best cell of a space that has a list of them."""
    if sweep.cell_count() == math.inf:
        return None
    plans = [planner.plan(sweep.candidate, "screen", cell, 0) for cell in sweep.cells()]
    best = []
    for world in (setting.world for setting in settings):
        truths = [truth for plan in plans if not math.isnan(truth := world.truth(plan))]
        best += [(max(truths) - world.middle) / world.sd] if truths else []
    return Estimate.of(best)
