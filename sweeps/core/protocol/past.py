"""Trials of earlier sweeps in the screen of a new one: which of them fit, and in what order.

Screening alone learns from them. What is selected and confirmed runs in its own sweep, and earlier
trials on seeds that those stages may use are left out: nothing is tested on what it was tuned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flowpwm.checks import ConfigError
from flowpwm.config import flat_items, flatten
from sweeps.core.definition.axes import Axis, Cell, Range, last_name
from sweeps.core.definition.tune import SEED_SETS, Tune
from sweeps.core.protocol.grid import cell_key
from sweeps.core.protocol.plan import differing, make_plan
from sweeps.core.protocol.rungs import Brackets
from sweeps.core.store.records import Past, TrialRecord
from sweeps.core.store.schema import DONE_STATUSES

#: Most keys that a reason names.
_NAMED = 3


def fit(sweep: Tune, record: TrialRecord, values: Mapping[int, float], run: str = "") -> Past | str:
    """The trial as the screen can use it, or the reason why it cannot.

    It fits if the sweep could screen the same configuration: same task, same settings off the axes,
    values inside the axes, evaluated in the same way. `values` are its scores by progress.
    """
    if record.status not in (*DONE_STATUSES, "STOPPED"):
        return "failed or not finished"
    if record.score is None:
        return "without a score"
    old = dict(flat_items(record.config))
    if old.get("task") != sweep.task:
        return "other task"
    if record.seed not in SEED_SETS["screen"]:
        return "on a seed that is kept for select or confirm"
    if any(axis not in old for axis in sweep.space):
        return "other arm"
    cell = {key: old[key] for key in sweep.space}
    if outside := [key for key, axis in sweep.space.items() if not _holds(axis, cell[key])]:
        return f"outside the space ({_names(outside)})"
    if not sweep.affordable(cell):
        return "outside the space (max_nfe)"
    try:
        plan = make_plan(sweep, sweep.candidate, "screen", cell, record.seed)
    except ConfigError:
        return "outside the space"
    if changed := differing(old, flatten(plan.config)):
        rules = [key for key in changed if key.startswith("evaluation.")]
        return f"evaluated otherwise ({_names(rules)})" if rules else f"other {_names(changed)}"
    done = record.status in DONE_STATUSES
    bracket = Brackets(sweep.screen.rungs, sweep.screen.reduction).of(
        plan.config.epochs, plan.budget
    )
    return Past(
        run=run,
        trial_id=record.trial_id,
        config_id=plan.config_id,
        params=cell,
        status=record.status,
        score=record.score,
        exact=done and record.trial_id == plan.trial_id and record.seed == sweep.screen.seed,
        values=tuple(sorted(values.items())),
        rungs=tuple(
            rung
            for rung in record.rungs
            if rung.bracket == bracket.name and rung.milestone in bracket.milestones
        ),
    )


def best_first(past: Iterable[Past]) -> list[Past]:
    """Those that came to their end by their score, then stopped ones by how far they came."""

    def key(trial: Past) -> tuple[bool, int, float, str]:
        stopped = trial.status == "STOPPED"
        reached = trial.values[-1][0] if stopped and trial.values else 0
        return (stopped, -reached, -trial.score, trial.trial_id)

    return sorted(past, key=key)


def cells_of(past: Iterable[Past]) -> list[Cell]:
    """The cells of earlier trials in their order, each once."""
    found: dict[str, Cell] = {}
    for trial in past:
        found.setdefault(cell_key(trial.params), dict(trial.params))
    return list(found.values())


def _holds(axis: Axis, value: object) -> bool:
    if not isinstance(axis, Range):
        return value in axis
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return axis.low <= value <= axis.high


def _names(keys: Sequence[str]) -> str:
    more = ", ..." if len(keys) > _NAMED else ""
    return ", ".join(map(last_name, keys[:_NAMED])) + more
