"""From a sweep to the trials that answer it. What is finished is never done again.

A tune sweep screens, selects and confirms; a compare sweep only confirms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from sweeps.core.definition.axes import Cell
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.protocol.grid import Grid, Source, is_enumerable
from sweeps.core.protocol.past import cells_of
from sweeps.core.protocol.plan import Plan, make_plan, plan_again
from sweeps.core.protocol.programs import in_one_program, most_together
from sweeps.core.protocol.ranking import Ranked, rank
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing
from sweeps.core.protocol.rungs import Brackets
from sweeps.core.store.records import Past
from sweeps.core.store.state import TrialRecord

S = TypeVar("S", bound=Sweep)
Steps = Generator[Plan | None, None, list[str]]


class NothingSucceeded(RuntimeError):
    """A stage ended without a single score to go on from."""


class SourceMaker(Protocol):
    """Makes the source of the screen, given the trials that exist already."""

    def __call__(self, sweep: Tune, known: list[TrialRecord]) -> Source:
        """A source that proposes none of the known trials again."""
        ...


class Stages(Generic[S]):
    """The stages over the records of a sweep, whether these are empty or half full.

    `brackets` hold the early stopping, with the decisions of earlier drivers.
    """

    def __init__(self, sweep: S, recorder: Recorder, sizing: Sizing = NOTHING_KNOWN) -> None:
        self._sweep = sweep
        self._recorder = recorder
        self._sizing = sizing
        self._again: deque[str] = deque()
        self.brackets = Brackets((), 2.0)

    def plans(self) -> Iterator[Plan | None]:
        """The trials to start, in order; None while the next ones depend on those that run.

        Raises NothingSucceeded where a stage leaves nothing to go on with.
        """
        for plan in self._first_time():
            yield plan
            while self._again:
                yield self._once_more(self._recorder.state.trials[self._again.popleft()])

    def again(self, trial_id: str) -> None:
        """Hand a trial out once more, ahead of those not started: its attempt is over."""
        self._again.append(trial_id)

    def _first_time(self) -> Iterator[Plan | None]:
        """`plans` as long as no trial has to be handed out twice."""
        raise NotImplementedError

    def _confirm(self, winner: Cell) -> Iterator[Plan | None]:
        self._begin("confirm")
        # Where an earlier winner was tested there was a look before this one was chosen.
        spent = self._recorder.state.spent_seeds
        for record in self._recorder.of_stage("confirm"):
            if record.seed in spent and not record.final:
                message = {"message": "another configuration was selected"}
                self._recorder.ended(record.trial_id, "cancelled", message)
        # Seed by seed, so that a sweep cut short has as many of one arm as of the other.
        wanted = [
            (arm, cell, seed)
            for seed in self._sweep.confirm.seeds
            if seed not in spent
            for arm, cell in self._sweep.confirmed(winner)
        ]
        yield from self._list("confirm", wanted)
        yield from self._finish("confirm")

    def _list(self, stage: str, wanted: list[tuple[str, Cell, int]]) -> Iterator[Plan]:
        known = {
            (record.arm, record.seed, record.task, str(record.params))
            for record in self._recorder.of_stage(stage)
        }
        for arm, cell, seed in wanted:
            task = cell.get("task", self._sweep.tasks[0])
            params = {key: value for key, value in cell.items() if key != "task"}
            if (arm, seed, task, str(params)) not in known:
                self._plan(arm, stage, cell, seed)
        yield from self._left(self._recorder.of_stage(stage))

    def _plan(self, arm: str, stage: str, cell: Cell, seed: int) -> Plan:
        plan = self._compose(arm, stage, cell, seed)
        self._recorder.planned(plan)
        return plan

    def _compose(self, arm: str, stage: str, cell: Cell, seed: int) -> Plan:
        return make_plan(self._sweep, arm, stage, cell, seed, self._sizing)

    def _once_more(self, record: TrialRecord) -> Plan:
        return plan_again(record, self._sweep, self._sizing)

    def _left(self, records: list[TrialRecord]) -> Iterator[Plan]:
        """What still has to run; a trial that a rung stopped is done, even if nobody noted it."""
        handed_out: set[str] = set()
        for record in records:
            if record.stop_decided and not record.final:
                self._recorder.ended(record.trial_id, "stopped", {})
            elif not record.final and record.trial_id not in handed_out:
                plan = self._with_fellows(record, records, handed_out)
                handed_out |= {each.trial_id for each in plan.all}
                yield plan

    def _with_fellows(
        self, record: TrialRecord, records: list[TrialRecord], handed_out: Collection[str]
    ) -> Plan:
        """A plan that takes other seeds of its configuration along, where that pays."""
        plan = self._once_more(record)
        size = most_together(plan, self._sweep, self._sizing)
        if size == 1 or record.stage == "screen" or record.failures:
            return plan
        others = (
            other
            for other in records
            if other is not record and other.trial_id not in handed_out
            if not other.final and not other.failures
            if (other.arm, other.config_id) == (record.arm, record.config_id)
        )
        fellows = [self._once_more(other) for other in islice(others, size - 1)]
        return in_one_program([plan, *fellows], self._sweep, self._sizing)

    def _begin(self, stage: str) -> None:
        if stage not in self._recorder.state.stages:
            self._recorder.sweep("stage_started", stage=stage)

    def _finish(self, stage: str) -> Generator[None, None, list[Ranked]]:
        """Wait for the stage's trials and rank the candidates' configurations."""
        while not all(record.final for record in self._recorder.of_stage(stage)):
            yield None
        records = self._recorder.of_stage(stage)
        ranked = rank(r for r in records if r.arm in (self._sweep.candidates or self._sweep.arms))
        if self._recorder.state.stages.get(stage) != "finished":
            self._recorder.sweep("stage_finished", stage=stage)
        if not ranked:
            raise NothingSucceeded(f"no trial of stage {stage} reached a score")
        return ranked


class CompareStages(Stages[Compare]):
    """One stage: everything that is compared."""

    def _first_time(self) -> Iterator[Plan | None]:
        """Every arm on every task, cell and seed."""
        yield from self._confirm({})


class TuneStages(Stages[Tune]):
    """Screen, select, confirm: from a space to an answer."""

    def __init__(
        self,
        sweep: Tune,
        recorder: Recorder,
        make_source: SourceMaker,
        sizing: Sizing = NOTHING_KNOWN,
        taken_over: Callable[[str], bool] = lambda trial_id: False,
    ) -> None:
        """`taken_over` ends a planned trial of the screen with the result that an earlier sweep has
        of it, where there is one.
        """
        super().__init__(sweep, recorder, sizing)
        self._make_source = make_source
        self._taken_over = taken_over
        self.brackets = Brackets(
            sweep.screen.rungs,
            sweep.screen.reduction,
            margin=sweep.screen.margin,
            score_se=sweep.screen.score_se,
        )
        self.brackets.warm(recorder.state.past)
        self.brackets.replay(recorder.state.rungs)

    def _first_time(self) -> Iterator[Plan | None]:
        """The trials of the three stages, each as soon as it is known."""
        finalists = yield from self._screen()
        (winner,) = yield from self._select(finalists)
        yield from self._confirm(self._cell_of(winner))

    def _screen(self) -> Steps:
        if "screen" in self._recorder.state.decisions:
            return self._recorder.state.decisions["screen"]["config_ids"]
        self._begin("screen")
        known = self._recorder.of_stage("screen")
        source = self._make_source(self._sweep, known)
        self._recorder.source = source
        for plan in self._left(known):
            if not self._taken_over(plan.trial_id):
                yield plan
        for _ in range(self._sweep.planned_trials()["screen"] - len(known)):
            cell = source.next()
            if cell is None:
                break
            plan = self._plan(self._sweep.candidate, "screen", cell, self._sweep.screen.seed)
            source.planned(plan.trial_id)
            if not self._taken_over(plan.trial_id):
                yield plan
        ranked = yield from self._finish("screen")
        self._recorder.source = None
        return self._decide("screen", ranked[: self._sweep.select.top])

    def _select(self, finalists: list[str]) -> Steps:
        if "select" in self._recorder.state.decisions:
            return self._recorder.state.decisions["select"]["config_ids"]
        self._begin("select")
        # In an extended sweep a finalist stays one: its runs are paid for, and may be the best.
        before = [record.config_id for record in self._recorder.of_stage("select")]
        wanted = [
            (self._sweep.candidate, self._cell_of(config), seed)
            for seed in self._sweep.select.seeds
            for config in dict.fromkeys([*finalists, *before])
        ]
        yield from self._list("select", wanted)
        ranked = yield from self._finish("select")
        return self._decide("select", ranked[:1])

    def _decide(self, stage: str, chosen: list[Ranked]) -> list[str]:
        ids = [ranked.config_id for ranked in chosen]
        why = [ranked.why() for ranked in chosen]
        self._recorder.sweep("selected", stage=stage, config_ids=ids, why=why)
        return ids

    def _cell_of(self, config: str) -> Cell:
        trials = self._recorder.trials()
        return next(dict(trial.params) for trial in trials if trial.config_id == config)


def enumerate_or(large: SourceMaker, past: Sequence[Past] = ()) -> SourceMaker:
    """Grids worth walking are walked; `large` answers for the rest. `past` are trials of earlier
    sweeps, best first.
    """

    def make(sweep: Tune, known: list[TrialRecord]) -> Source:
        if is_enumerable(sweep):
            return Grid(sweep, [record.params for record in known], cells_of(past))
        return large(sweep, known)

    return make
