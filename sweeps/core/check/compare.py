"""The check of a compare sweep: every run composed, no two of them the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowpwm.checks import ConfigError
from sweeps.core.check.checked import (
    Checked,
    refuse,
    wrong_requests,
    wrong_rules,
    wrong_seeds,
)
from sweeps.core.check.files import missing_files
from sweeps.core.definition.axes import Range
from sweeps.core.definition.command import known_keys
from sweeps.core.definition.compare import Compare
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing


def check_compare(sweep: Compare, *, many: bool = False, sizing: Sizing = NOTHING_KNOWN) -> Checked:
    """Raise UsageError with a line for every problem, or say what is about to run."""
    refuse(_wrong_rules(sweep, many))
    plans: list[Plan] = []
    refused: dict[str, dict[str, None]] = {}  # message -> arms
    for arm, cell in sweep.confirmed():
        try:
            plan = make_plan(sweep, arm, "confirm", cell, sweep.confirm.seeds[0], sizing)
        except ConfigError as error:
            refused.setdefault(str(error), {})[arm] = None
            continue
        plans.append(plan)
    problems = [
        message if list(arms) == list(sweep.arms) else f"{', '.join(arms)}: {message}"
        for message, arms in refused.items()
    ]
    refuse([*problems, *_twins(plans), *wrong_requests(sweep, plans)])
    refuse(missing_files(plan.config for plan in plans))
    return Checked(len(plans), tuple(plans), tuple(plans))


def _wrong_rules(sweep: Compare, many: bool) -> Iterator[str]:
    if sweep.baseline not in sweep.arms:
        yield (
            f"baseline {sweep.baseline!r} is none of the arms {', '.join(sweep.arms)}: "
            "name one of them with baseline=..."
        )
    if not sweep.arms:
        yield "a comparison needs an arm, got none"
    try:
        known = known_keys(sweep)
    except ConfigError as error:
        yield str(error)
        return
    ranges = {axis: r for axis, r in sweep.space.items() if isinstance(r, Range)}
    for axis, values in ranges.items():
        yield f"axis {axis} is the range {values}: a comparison needs a list of values"
    if ranges:
        return
    yield from wrong_rules(sweep, many)
    for axis in sweep.space:
        if axis == "task":
            yield "axis task: name the tasks with task=[...]"
        elif axis not in known:
            yield f"axis {axis}: no arm has this key"
    if "seed" in sweep.fixed:
        yield "seed is fixed: a comparison needs seeds=..."
    yield from wrong_seeds("seeds", sweep.confirm.seeds)


def _twins(plans: Sequence[Plan]) -> Iterator[str]:
    """Runs that are the same under two names would be one trial, compared with itself."""
    first: dict[str, Plan] = {}
    for plan in plans:
        other = first.setdefault(plan.config_id, plan)
        if other is not plan:
            yield f"{other.name} and {plan.name} are the same configuration"
