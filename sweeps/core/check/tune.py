"""The check of a tune sweep: its space, its stages and their disjoint seeds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from flowpwm.checks import ConfigError
from flowpwm.config import config_id
from sweeps.core.check.checked import (
    Checked,
    refuse,
    wrong_requests,
    wrong_rules,
    wrong_seeds,
)
from sweeps.core.check.files import missing_files
from sweeps.core.definition.axes import Axis, Cell, Range, cell_text
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import NFE_AXES, SEED_SETS, Tune
from sweeps.core.protocol.plan import Plan, compose_trial, make_plan
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing

MAX_WEIGHED_CELLS = 64
MAX_CHECKED_CELLS = 4096  # a larger grid is checked value by value and at its corners


def check_tune(sweep: Tune, *, many: bool = False, sizing: Sizing = NOTHING_KNOWN) -> Checked:
    """Raise UsageError with a line for every problem, or say what is about to run."""
    refuse(_wrong_rules(sweep, many))
    problems: list[str] = []
    seen: dict[str, Cell] = {}
    refused: dict[str, set[str]] = {}  # message -> arms
    composed = []
    for arm, cell in _configurations(sweep):
        try:
            config = compose_trial(sweep, arm, "screen", cell, sweep.screen.seed)
        except ConfigError as error:
            refused.setdefault(str(error), set()).add(arm)
            continue
        composed.append(config)
        twin = seen.setdefault(f"{arm} {config_id(config)}", cell)
        if twin != cell:
            problems.append(f"{_show(cell)} and {_show(twin)} are the same configuration")
    problems += [
        message if arms == set(sweep.arms) else f"{', '.join(sorted(arms))}: {message}"
        for message, arms in refused.items()
    ]
    for stage, arm in itertools.product(sweep.STAGES, sweep.arms):
        if not problems:
            problems += _composes(sweep, arm, stage, _first_cell(sweep, arm))
    refuse(problems or missing_files(composed))
    plans = [
        make_plan(sweep, arm, "confirm", cell, sweep.confirm.seeds[0], sizing)
        for arm, cell in sweep.confirmed(_first_cell(sweep, sweep.candidate))
    ]
    demanding = tuple(_extremes(sweep, sizing))
    refuse(wrong_requests(sweep, demanding))
    return Checked(len(composed), tuple(plans), demanding)


def _wrong_rules(sweep: Tune, many: bool) -> Iterator[str]:
    if sweep.baseline not in sweep.arms or len(sweep.arms) != 2:
        yield f"a sweep needs the baseline and one candidate arm, got arms {', '.join(sweep.arms)}"
        return
    if len(sweep.tasks) != 1:
        yield f"a sweep that tunes has one task, got {', '.join(sweep.tasks)}"
    if not sweep.space:
        yield "the space has no axis: give at least one, as in substeps=[2,4]"
    if "task" in sweep.space:
        yield "axis task: a sweep has one task; run one sweep a task"
    yield from wrong_rules(sweep, many)
    if sweep.space and all(map(_choices, sweep.space.values())) and not sweep.cell_count():
        yield _no_cell(sweep)
    if "seed" in sweep.fixed:
        yield "seed is set by the stages: use screen.seed, select.seeds and confirm.seeds"
    for stage in sweep.STAGES:
        seeds, allowed = sweep.seeds(stage), SEED_SETS[stage]
        yield from wrong_seeds(f"{stage}.seeds", seeds)
        for seed in seeds:
            if seed not in allowed:
                yield (
                    f"{stage} seed {seed} is outside {allowed.start}..{allowed.stop - 1}: "
                    "seed sets are disjoint, so that nothing is confirmed on what it was tuned on"
                )


def _no_cell(sweep: Tune) -> str:
    return f"max_nfe={sweep.max_nfe} leaves no cell: raise it or choose fewer substeps"


def _choices(axis: Axis) -> bool:
    return isinstance(axis, Range) or bool(axis)


def _configurations(sweep: Tune) -> Iterator[tuple[str, Cell]]:
    """Every (arm, cell) that can run; of a space too large to list, its values and corners."""
    axes = {
        key: axis.corners() if isinstance(axis, Range) else axis
        for key, axis in sweep.space.items()
    }
    baseline_axes = sweep.shared(axes)
    for arm, space in ((sweep.candidate, axes), (sweep.baseline, baseline_axes)):
        count = 1
        for values in space.values():
            count *= len(values)
        if count <= MAX_CHECKED_CELLS:
            for values in itertools.product(*space.values()):
                yield arm, dict(zip(space, values, strict=True))
            continue
        first = {key: values[0] for key, values in space.items()}
        yield arm, first
        for key, values in space.items():
            yield from ((arm, first | {key: value}) for value in values[1:])
        yield arm, {key: values[-1] for key, values in space.items()}


def _first_cell(sweep: Tune, arm: str) -> Cell:
    cell = {
        key: axis.low if isinstance(axis, Range) else axis[0] for key, axis in sweep.space.items()
    }
    return cell if arm == sweep.candidate else sweep.shared(cell)


def _composes(sweep: Tune, arm: str, stage: str, cell: Cell) -> list[str]:
    try:
        compose_trial(sweep, arm, stage, cell, sweep.seeds(stage)[0])
    except ConfigError as error:
        return [f"{stage}, {arm}: {error}"]
    return []


def _extremes(sweep: Tune, sizing: Sizing) -> Iterator[Plan]:
    """Plans of the cells with every numeric axis at its largest, for each value of the others.

    Substeps have a limit together with the integrator: of those each value is looked at.
    """
    pairs = sweep.affordable_pairs()
    axes = {}
    for key, axis in sweep.space.items():
        if pairs and key in pairs[0]:
            continue
        values = axis.corners() if isinstance(axis, Range) else axis
        numeric = all(isinstance(value, (int, float)) for value in values)
        axes[key] = (max(values),) if numeric and key not in NFE_AXES else values
    every = (
        pair | dict(zip(axes, values, strict=True))
        for values in itertools.product(*axes.values())
        for pair in pairs
    )
    cells = list(itertools.islice(filter(sweep.affordable, every), MAX_WEIGHED_CELLS))
    if not cells:  # seen here alone where another axis is a range
        raise UsageError(_no_cell(sweep))
    for cell in cells:
        yield make_plan(sweep, sweep.candidate, "screen", cell, sweep.screen.seed, sizing)
    for cell in {repr(shared): shared for shared in map(sweep.shared, cells)}.values():
        yield make_plan(sweep, sweep.baseline, "confirm", cell, sweep.confirm.seeds[0], sizing)


def _show(cell: Cell) -> str:
    return cell_text(cell).replace(" ", ", ")
