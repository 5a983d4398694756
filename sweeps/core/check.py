"""The whole sweep checked before anything starts: every configuration composed, every rule held."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from flowpwm.checks import ConfigError, one_of
from flowpwm.config import config_id
from flowpwm.envs import ENVS
from sweeps.core.command import UsageError
from sweeps.core.folder import check_name
from sweeps.core.plan import Plan, compose_trial, make_plan
from sweeps.core.sweep import SEED_SETS, STAGES, Axis, Cell, Range, Sweep

MAX_CHECKED_CELLS = 4096  # a larger grid is checked value by value and at its corners
MAX_TRIALS = 10_000
FEWEST_TEST_SEEDS = 3
REFERENCE_HORIZON = 16  # of the published experiments; shorter ones bias the comparison


@dataclass(frozen=True)
class Checked:
    """What the check found out: configurations tried, plans of the extremes, what to warn of."""

    configurations: int
    largest: Plan
    baseline: Plan
    warnings: tuple[str, ...]


def check(sweep: Sweep, *, many: bool = False, gpu_bytes: int = 0) -> Checked:
    """Raise UsageError with a line for every problem, or say what is about to run.

    `many` allows more than 10,000 trials.
    """
    problems = [*_wrong_rules(sweep, many)]
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    seen: dict[str, Cell] = {}
    refused: dict[str, set[str]] = {}  # message -> arms
    composed = 0
    for arm, cell in _configurations(sweep):
        try:
            config = compose_trial(sweep, arm, "screen", cell, sweep.screen.seed)
        except ConfigError as error:
            refused.setdefault(str(error), set()).add(arm)
            continue
        composed += 1
        twin = seen.setdefault(f"{arm} {config_id(config)}", cell)
        if twin != cell:
            problems.append(f"{_show(cell)} and {_show(twin)} are the same configuration")
    problems += [
        message if arms == set(sweep.arms) else f"{', '.join(sorted(arms))}: {message}"
        for message, arms in refused.items()
    ]
    for stage, arm in itertools.product(STAGES, sweep.arms):
        if not problems:
            cell = _first_cell(sweep, arm)
            problems += _composes(sweep, arm, stage, cell)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    largest = max(_extremes(sweep, gpu_bytes), key=lambda plan: plan.resources.memory_bytes)
    baseline = make_plan(
        sweep,
        sweep.baseline,
        "confirm",
        _first_cell(sweep, sweep.baseline),
        sweep.confirm.seeds[0],
        gpu_bytes,
    )
    return Checked(composed, largest, baseline, tuple(_warnings(sweep, largest)))


def _wrong_rules(sweep: Sweep, many: bool) -> Iterator[str]:
    try:
        check_name(sweep.name)
        one_of("task", sweep.task, ENVS)
    except ValueError as error:
        yield str(error)
    if sweep.baseline not in sweep.arms or len(sweep.arms) != 2:
        yield f"a sweep needs the baseline and one candidate arm, got arms {', '.join(sweep.arms)}"
    if not sweep.space:
        yield "the space has no axis: give at least one, as in substeps=[2,4]"
    for axis, values in sweep.space.items():
        if axis == "seed" or axis.startswith("evaluation."):
            yield f"axis {axis}: seeds and evaluation belong to the stages, not to the space"
        if axis == "task":
            yield "axis task: a sweep has one task; run one sweep a task"
        if not isinstance(values, Range) and not values:
            yield f"axis {axis} is empty: give at least one value"
        if axis in sweep.fixed:
            yield f"{axis} is an axis and fixed to {sweep.fixed[axis]!r} as well"
    if sweep.space and all(map(_choices, sweep.space.values())) and not sweep.cell_count():
        yield f"max_nfe={sweep.max_nfe} leaves no cell: raise it or choose fewer substeps"
    if "seed" in sweep.fixed:
        yield "seed is set by the stages: use screen.seed, select.seeds and confirm.seeds"
    yield from _wrong_seeds(sweep)
    total = sum(sweep.planned_trials().values())
    if total > MAX_TRIALS and not many:
        yield f"{total} trials are planned; --yes if more than {MAX_TRIALS} are meant"


def _choices(axis: Axis) -> bool:
    return isinstance(axis, Range) or bool(axis)


def _wrong_seeds(sweep: Sweep) -> Iterator[str]:
    for stage in STAGES:
        seeds, allowed = sweep.seeds(stage), SEED_SETS[stage]
        if not seeds:
            yield f"{stage}.seeds is empty: give at least one seed"
        for seed in seeds:
            if seed not in allowed:
                yield (
                    f"{stage} seed {seed} is outside {allowed.start}..{allowed.stop - 1}: "
                    "seed sets are disjoint, so that nothing is confirmed on what it was tuned on"
                )
        if len(set(seeds)) < len(seeds):
            yield f"{stage}.seeds has a seed twice: {list(seeds)}"


def _configurations(sweep: Sweep) -> Iterator[tuple[str, Cell]]:
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


def _first_cell(sweep: Sweep, arm: str) -> Cell:
    cell = {
        key: axis.low if isinstance(axis, Range) else axis[0] for key, axis in sweep.space.items()
    }
    return cell if arm == sweep.candidate else sweep.shared(cell)


def _composes(sweep: Sweep, arm: str, stage: str, cell: Cell) -> list[str]:
    try:
        compose_trial(sweep, arm, stage, cell, sweep.seeds(stage)[0])
    except ConfigError as error:
        return [f"{stage}, {arm}: {error}"]
    return []


def _extremes(sweep: Sweep, gpu_bytes: int) -> Iterator[Plan]:
    """Plans of the cells with every numeric axis at its largest, for each value of the others."""
    axes = []
    for axis in sweep.space.values():
        values = axis.corners() if isinstance(axis, Range) else axis
        numeric = all(isinstance(value, (int, float)) for value in values)
        axes.append((max(values),) if numeric else values)
    for values in itertools.islice(itertools.product(*axes), 64):
        cell = dict(zip(sweep.space, values, strict=True))
        yield make_plan(sweep, sweep.candidate, "screen", cell, sweep.screen.seed, gpu_bytes)


def _warnings(sweep: Sweep, plan: Plan) -> Iterator[str]:
    seeds = len(sweep.confirm.seeds)
    if seeds < FEWEST_TEST_SEEDS:
        yield f"{seeds} test seed(s): fewer than {FEWEST_TEST_SEEDS} give no usable interval"
    horizon = plan.config.horizon
    if horizon != REFERENCE_HORIZON:
        yield f"horizon {horizon}; the published reference uses {REFERENCE_HORIZON}"
    if sweep.screen.trials > sweep.cell_count():
        yield f"screen.trials={sweep.screen.trials}, but the space has {sweep.cell_count()} cells"
    yield from _left_out(sweep)
    if sweep.select.top > sweep.planned_trials()["screen"]:
        yield f"select.top={sweep.select.top} is more than the screen has configurations"
    evaluations = -(-plan.config.epochs // plan.config.evaluation.every)
    if evaluations < 5:
        yield f"{evaluations} evaluations a run: a score is the mean of the last 5"


def _left_out(sweep: Sweep) -> Iterator[str]:
    axes = {key: axis for key, axis in sweep.space.items() if not isinstance(axis, Range)}
    if not sweep.max_nfe or len(axes) < len(sweep.space):
        return
    cells = list(sweep.cells())
    for key, values in axes.items():
        tried = [cell[key] for cell in cells]
        if missing := [str(value) for value in values if value not in tried]:
            name = key.rpartition(".")[2]
            yield (
                f"max_nfe={sweep.max_nfe} leaves out {name}={','.join(missing)}: "
                "raise it, or set max_nfe=0"
            )


def _show(cell: Cell) -> str:
    return ", ".join(f"{key}={value}" for key, value in cell.items())
