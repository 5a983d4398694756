"""Where the next configuration comes from, where the space is too large to walk: Optuna's TPE.

Asked and told directly: Tune's own wrapper tells trials that early stopping ended as complete with
their early score, which mixes budgets.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from sweeps.core.definition.axes import Axis, Cell, Range
from sweeps.core.definition.tune import Tune
from sweeps.core.protocol.grid import cell_key
from sweeps.core.protocol.past import cells_of
from sweeps.core.store.records import Past
from sweeps.core.store.schema import DONE_STATUSES, FINAL_STATUSES
from sweeps.core.store.state import TrialRecord

JOURNAL = "optuna.journal"
_TRIAL_ID, _PAST_ID = "trial_id", "earlier_trial"
_MOST_REPEATS = 20


class Study:
    """An Optuna study in a journal file of the run folder, where a resume finds it again.

    Without a folder it is kept in memory, for simulations. `records` are the trials of an earlier
    driver: what ended after the journal's last line is told now, and suggestions that never
    became a trial are dropped. `past` are trials of earlier sweeps, best first: the study knows
    them all from the start, and proposes the best again, so that they can be selected here too.
    """

    def __init__(
        self,
        folder: Path | None,
        sweep: Tune,
        records: Iterable[TrialRecord] = (),
        past: Sequence[Past] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep = sweep
        self._space = {key: _distribution(axis) for key, axis in sweep.space.items()}
        storage = InMemoryStorage() if folder is None else _open_journal(folder / JOURNAL)
        self._study = _open_study(storage, sweep.name, self._space)
        self._asked: Trial | None = None
        self._tries = 0  # questions since the last answer that was taken
        self._numbers: dict[str, int] = {}
        own = {record.trial_id: record for record in records}
        self._observe(past, own)
        self._take_over(own)
        tried, self._known = self._tried(), cells_of(past)
        best = self._known[: sweep.select.top]
        self._again = [cell for cell in best if cell_key(cell) not in tried]

    def next(self) -> Cell | None:
        """A cell not proposed before; None once every cell of a finite space was."""
        if self._again:
            self._study.enqueue_trial(self._again.pop(0))
            return dict(self._ask().params)
        seen = {cell_key(t.params) for t in self._trials() if t.state != TrialState.FAIL}
        seen |= self._tried()
        for _ in range(_MOST_REPEATS):
            trial = self._ask()
            if cell_key(trial.params) not in seen and self._sweep.affordable(trial.params):
                return dict(trial.params)
            self._study.tell(trial, state=TrialState.FAIL)
        if self._sweep.cell_count() == float("inf"):
            return None
        left = [cell for cell in self._sweep.cells() if cell_key(cell) not in seen]
        if left:
            cell = random.Random(self._seed()).choice(left)
        else:  # earlier sweeps know all of it: what did not run here, best first
            tried = self._tried()
            cell = next((cell for cell in self._known if cell_key(cell) not in tried), None)
        if cell is None:
            return None
        self._study.enqueue_trial(cell)
        return dict(self._ask().params)

    def planned(self, trial_id: str) -> None:
        """Bind the trial asked for last to the name it runs under."""
        assert self._asked is not None
        self._asked.set_user_attr(_TRIAL_ID, trial_id)
        self._tries = 0
        self._numbers[trial_id] = self._asked.number

    def progressed(self, trial_id: str, progress: int, score: float) -> None:
        """Record an intermediate value; a step that was recorded before is left as it is."""
        if trial_id not in self._numbers:
            return
        frozen = self._trials()[self._numbers[trial_id]]
        if not frozen.state.is_finished() and progress not in frozen.intermediate_values:
            Trial(self._study, frozen._trial_id).report(score, step=progress)

    def ended(self, trial_id: str, status: str, score: float | None) -> None:
        """Whole runs count with their score, STOPPED as pruned, everything else not at all."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        if status in DONE_STATUSES and score is not None:
            self._study.tell(number, score, skip_if_finished=True)
        elif status == "STOPPED":
            self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _tried(self) -> set[str]:
        """The cells that became trials of this sweep."""
        return {cell_key(t.params) for t in self._trials() if _TRIAL_ID in t.user_attrs}

    def _ask(self) -> Trial:
        # A sampler for every question, seeded by its number: a resumed study asks as this one.
        self._tries += 1
        self._study.sampler = optuna.samplers.TPESampler(
            seed=self._seed(),
            multivariate=True,
            constant_liar=True,
            n_startup_trials=max(4, self._sweep.screen.trials // 4),
        )
        self._asked = self._study.ask(self._space)
        return self._asked

    def _seed(self) -> int:
        # A suggestion that never became a trial does not count: it is the next one once more.
        taken = sum(_TRIAL_ID in trial.user_attrs for trial in self._trials())
        asked = taken * 2 * _MOST_REPEATS + self._tries
        return (self._sweep.search_seed * 1_000_003 + asked) % 2**32

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _observe(self, past: Iterable[Past], own: Mapping[str, TrialRecord]) -> None:
        """Add what the study has not heard of: earlier sweeps' trials, and those of this one that
        a grid had proposed, or a study over a smaller space.
        """
        names = (_TRIAL_ID, _PAST_ID)
        heard = {
            t.user_attrs[name] for t in self._trials() for name in names if name in t.user_attrs
        }
        for trial in past:
            if (name := f"{trial.run} {trial.trial_id}") not in heard:
                values = dict(trial.values)
                self._add(trial.params, trial.status, trial.score, values, {_PAST_ID: name})
        for name, record in own.items():
            if name not in heard and record.params.keys() == self._space.keys():
                values = {r.milestone: r.score for r in record.rungs if r.score is not None}
                names = {_TRIAL_ID: name}
                self._add(record.params, record.status, record.score, values, names)

    def _add(
        self,
        cell: Cell,
        status: str,
        score: float | None,
        values: Mapping[int, float],
        names: Mapping[str, str],
    ) -> None:
        state = TrialState.FAIL if status in FINAL_STATUSES else TrialState.RUNNING
        if status in DONE_STATUSES and score is not None:
            state = TrialState.COMPLETE
        elif status == "STOPPED":
            state = TrialState.PRUNED
        self._study.add_trial(
            create_trial(
                state=state,
                value=score if state == TrialState.COMPLETE else None,
                params=dict(cell),
                distributions=self._space,
                intermediate_values=dict(values),
                user_attrs=dict(names),
            )
        )

    def _take_over(self, records: dict[str, TrialRecord]) -> None:
        for trial in self._trials():
            if trial.state.is_finished() or trial.state == TrialState.WAITING:
                continue
            record = records.get(trial.user_attrs.get(_TRIAL_ID, ""))
            if record is None:
                self._study.tell(trial.number, state=TrialState.FAIL)
                continue
            self._numbers[record.trial_id] = trial.number
            if record.final:
                self.ended(record.trial_id, record.status, record.score)


def _distribution(axis: Axis) -> BaseDistribution:
    if not isinstance(axis, Range):
        return CategoricalDistribution(list[Any](axis))
    if axis.integer:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _open_study(
    storage: BaseStorage, name: str, space: Mapping[str, BaseDistribution]
) -> optuna.Study:
    """The study of this space. Where choices were added to an axis there is one before it, whose
    trials Optuna would not let this one go on with.
    """
    names = optuna.get_all_study_names(storage)
    for n in itertools.count(1):
        study = optuna.create_study(
            study_name=name if n == 1 else f"{name}-{n}",
            storage=storage,
            direction="maximize",
            load_if_exists=True,
        )
        if study.study_name not in names or _goes_on(study, space):
            return study
    raise AssertionError  # never: a study that is new is returned


def _goes_on(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> bool:
    try:
        for trial in study.get_trials(deepcopy=False):
            for key, old in trial.distributions.items():
                check_distribution_compatibility(old, space[key])
    except (ValueError, KeyError):
        return False
    return True


def _open_journal(journal: Path) -> JournalStorage:
    # The folder has one owner: a lock that is found belongs to a driver that was killed.
    Path(f"{journal}.lock").unlink(missing_ok=True)
    _cut_torn_line(journal)
    return JournalStorage(JournalFileBackend(str(journal)))


def _cut_torn_line(journal: Path) -> None:
    """Drop what a crash left of a last line; Optuna would refuse the file once more is appended."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with journal.open("r+b") as file:
            file.truncate(len(whole))
