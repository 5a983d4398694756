"""Which seeds of a configuration are trained as one program, in one process, and what that needs.

Those of select and confirm, where the sweep says how many (`trial.together`) or a GPU is busy with
starting kernels (`flowpwm.cost.seeds_that_pay`). In the screen a trial has one seed, and rungs that
may end it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from flowpwm.cost import seeds_that_pay
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Sizing, needed


def most_together(plan: Plan, sweep: Sweep, sizing: Sizing) -> int:
    """Seeds in a program of this trial's configuration, at the most; 1: each trains alone."""
    if plan.config.recompute:  # which a program cannot
        return 1
    return sweep.seeds_per_program or seeds_that_pay(plan.config, plan.cost, sizing.gpu_bytes)


def in_one_program(plans: Sequence[Plan], sweep: Sweep, sizing: Sizing) -> Plan:
    """The first of the plans with the others as its fellows, and what all of them need."""
    first, *others = plans
    wanted = needed(first.config, first.cost, sweep, sizing, runs=len(plans))
    return dataclasses.replace(first, resources=wanted, fellows=tuple(others))


def in_programs(plans: Iterable[Plan], sweep: Sweep, sizing: Sizing) -> list[Plan]:
    """The trials of a stage beyond the screen, seeds of one configuration joined."""
    alike: dict[tuple[str, str], list[Plan]] = {}
    for plan in plans:
        alike.setdefault((plan.arm, plan.config_id), []).append(plan)
    programs = []
    for seeds in alike.values():
        size = most_together(seeds[0], sweep, sizing)
        groups = [seeds[i : i + size] for i in range(0, len(seeds), size)]
        programs += [in_one_program(group, sweep, sizing) for group in groups]
    return programs


def largest_program(plan: Plan, sweep: Sweep, sizing: Sizing) -> Plan:
    """The configuration of `plan` with as many seeds as it will ever be trained with at a time."""
    seeds = max(len(sweep.seeds(stage)) for stage in sweep.STAGES if stage != "screen")
    return in_one_program([plan] * min(seeds, most_together(plan, sweep, sizing)), sweep, sizing)
