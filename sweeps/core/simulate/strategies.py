"""Ways to find the best configuration of a space, played against one simulated world."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sweeps.core.definition.axes import Axis, Cell, Range
from sweeps.core.definition.tune import SEED_SETS, Tune
from sweeps.core.protocol.grid import Source, cell_key
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.ranking import Ranked, rank
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.stages import NothingSucceeded, SourceMaker, enumerate_or
from sweeps.core.protocol.study import Study
from sweeps.core.simulate.simulated import World
from sweeps.core.simulate.simulator import Cluster, MemoryLog, Planner, SimulatedStages, Simulation
from sweeps.core.store.state import TrialRecord

REPLICAS = 3  # seeds of every configuration, where each has several
_MOST_REPEATS = 100


@dataclass(frozen=True)
class Outcome:
    """What one simulated sweep came to.

    `value` is the true score of its pick and `optimism` what was reported beyond that, both in
    standard deviations between configurations. `runs` are those of the candidate, each counted by
    the share of its epochs that it did, `hours` the time of their workers; the baseline, which
    every strategy needs on top, is in the `wall_hours` of the staged one alone.
    """

    value: float
    optimism: float
    runs: float
    hours: float
    wall_hours: float
    screened: int
    screen_runs: float


@dataclass(frozen=True)
class Budget:
    """What the others may spend: as many `runs` as the staged sweep.

    `screen_share` is the share of its epochs that a trial under early stopping does on average.
    """

    runs: float
    screen_share: float


@dataclass(frozen=True)
class Setting:
    """One repetition: a sweep in a world, on so many workers."""

    sweep: Tune
    world: World
    planner: Planner
    workers: int

    def play(
        self, stages: type[SimulatedStages], sweep: Tune, source: SourceMaker
    ) -> Outcome | None:
        """Run the stages and take the best of the last one; None where that came to no end."""
        recorder = Recorder(MemoryLog())
        cluster = Cluster(self.world, self.workers)
        try:
            driver = stages(sweep, recorder, source, self.planner)
            Simulation(driver, recorder, cluster).run()
        except NothingSucceeded:
            return None
        trials = [trial for trial in recorder.trials() if trial.arm == sweep.candidate]
        return self._outcome(trials, cluster)

    def _outcome(self, trials: list[TrialRecord], cluster: Cluster) -> Outcome | None:
        last = trials[-1].stage
        pick = rank(trial for trial in trials if trial.stage == last)[0]
        truth = self.world.truth(self._plan_of(pick, trials))
        if math.isnan(truth):
            return None  # all that came further failed, and so would this one
        screened = [trial for trial in trials if trial.stage == "screen"]
        return Outcome(
            value=(truth - self.world.middle) / self.world.sd,
            optimism=(pick.mean - truth) / self.world.sd,
            runs=sum(map(_share, trials)),
            hours=sum(trial.wall_time_s or 0.0 for trial in trials) / 3600,
            wall_hours=cluster.now,
            screened=len(screened),
            screen_runs=sum(map(_share, screened)),
        )

    def _plan_of(self, pick: Ranked, trials: list[TrialRecord]) -> Plan:
        trial = next(trial for trial in trials if trial.config_id == pick.config_id)
        return self.planner.plan(trial.arm, trial.stage, trial.params, trial.seed)


class ScreenAlone(SimulatedStages):
    """The first stage, and its best trial is the answer."""

    def _first_time(self) -> Iterator[Plan | None]:
        """The trials of the screen."""
        yield from self._screen()


class Replicated(SimulatedStages):
    """Several seeds of every configuration, to the end; the best mean is the answer."""

    def _first_time(self) -> Iterator[Plan | None]:
        """Every configuration on every seed."""
        self._begin("select")
        source = self._make_source(self._sweep, [])
        cells = [source.next() for _ in range(self._sweep.screen.trials)]
        first = SEED_SETS["select"].start
        wanted = [
            (self._sweep.candidate, cell, seed)
            for cell in cells
            if cell is not None
            for seed in range(first, first + REPLICAS)
        ]
        yield from self._list("select", wanted)
        yield from self._finish("select")


class RandomSearch:
    """Cells at random, none twice; a `Source`."""

    def __init__(self, sweep: Tune, known: list[TrialRecord]) -> None:
        self._sweep = sweep
        self._random = random.Random(sweep.search_seed)
        self._seen = {cell_key(record.params) for record in known}
        self._left: list[Cell] | None = None
        if sweep.cell_count() < math.inf:
            self._left = [cell for cell in sweep.cells() if cell_key(cell) not in self._seen]
            self._random.shuffle(self._left)

    def next(self) -> Cell | None:
        """Another cell, None after the last one."""
        if self._left is not None:
            return self._left.pop() if self._left else None
        for _ in range(_MOST_REPEATS):
            cell = {key: self._draw(axis) for key, axis in self._sweep.space.items()}
            if cell_key(cell) not in self._seen and self._sweep.affordable(cell):
                self._seen.add(cell_key(cell))
                return cell
        return None

    def planned(self, trial_id: str) -> None:
        """Nothing to learn."""

    def progressed(self, trial_id: str, progress: int, score: float) -> None:
        """Nothing to learn."""

    def ended(self, trial_id: str, status: str, score: float | None) -> None:
        """Nothing to learn."""

    def _draw(self, axis: Axis) -> int | float | object:
        if not isinstance(axis, Range):
            return self._random.choice(axis)
        if axis.integer:
            return self._random.randint(int(axis.low), int(axis.high))
        if axis.log:
            return math.exp(self._random.uniform(math.log(axis.low), math.log(axis.high)))
        return self._random.uniform(axis.low, axis.high)


def study(sweep: Tune, known: list[TrialRecord]) -> Source:
    """Optuna's proposals, from a study in memory."""
    return Study(None, sweep, known)


def staged(setting: Setting) -> Outcome | None:
    """Screen, select and confirm, as a real sweep does."""
    return setting.play(SimulatedStages, setting.sweep, enumerate_or(study))


def _asha(setting: Setting, budget: Budget) -> Outcome | None:
    trials = budget.runs / max(budget.screen_share, 0.01)
    return setting.play(ScreenAlone, screening(setting.sweep, trials), study)


def _random(setting: Setting, budget: Budget) -> Outcome | None:
    without = screening(setting.sweep, budget.runs, rungs=())
    return setting.play(ScreenAlone, without, RandomSearch)


def _replicated(setting: Setting, budget: Budget) -> Outcome | None:
    fewer = screening(setting.sweep, budget.runs / REPLICAS)
    return setting.play(Replicated, fewer, RandomSearch)


class Rival(NamedTuple):
    """A strategy that the staged sweep is compared with."""

    doc: str
    play: Callable[[Setting, Budget], Outcome | None]


RIVALS: dict[str, Rival] = {
    "asha": Rival("ASHA with Optuna, one seed, best as reported", _asha),
    "random": Rival("random search to the end, one seed, best as reported", _random),
    "seeds": Rival(f"{REPLICAS} seeds of each configuration to the end", _replicated),
}


def screening(sweep: Tune, trials: float, rungs: tuple[float, ...] | None = None) -> Tune:
    """The sweep with another number of trials in its screen, or with other rungs."""
    screen = dataclasses.replace(sweep.screen, trials=max(1, round(trials)))
    if rungs is not None:
        screen = dataclasses.replace(screen, rungs=rungs)
    return dataclasses.replace(sweep, screen=screen)


def _share(trial: TrialRecord) -> float:
    return trial.epochs_done / trial.epochs if trial.epochs else 0.0
