"""What a check finds out, and the rules that hold for every kind of sweep."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from flowpwm.envs.tasks import task_set
from sweeps.core.check.findings import Finding
from sweeps.core.definition.axes import Range
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.plan import Plan, sized
from sweeps.core.protocol.programs import largest_program
from sweeps.core.protocol.requests import Sizing
from sweeps.core.store.folder import check_name

MAX_TRIALS = 10_000
INSTALL_TENSORBOARD = "pip install -c constraints.txt -e '.[tensorboard]'"
MOST_TRIALS = 1_000_000  # whatever is meant: they would take longer to list than to refuse


@dataclass(frozen=True)
class Checked:
    """What the check found out.

    `configurations` were composed; `plans` are those of the comparison, one a run and for the
    first seed (of a tune sweep, of its first cell); `demanding` are those that ask for the most,
    of every arm.
    """

    configurations: int
    plans: tuple[Plan, ...]
    demanding: tuple[Plan, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def largest(self) -> Plan:
        """The one that needs the most memory."""
        return max(self.demanding, key=lambda plan: plan.resources.memory_bytes)

    def programs(self, sweep: Sweep, sizing: Sizing) -> list[Plan]:
        """The largest programs of several seeds; none where each trains alone."""
        largest = (largest_program(plan, sweep, sizing) for plan in self.demanding)
        return [plan for plan in largest if plan.fellows]

    def sized(self, sweep: Sweep, sizing: Sizing) -> Checked:
        """The same, with every request made anew."""
        plans, demanding = (
            tuple(sized(plan, sweep, sizing) for plan in group)
            for group in (self.plans, self.demanding)
        )
        return replace(self, plans=plans, demanding=demanding)

    def of(self, arm: str) -> Plan:
        """The first run of an arm."""
        return next(plan for plan in self.plans if plan.arm == arm)

    def baselines(self, sweep: Sweep) -> dict[str, Plan]:
        """The first run of the baseline on every task."""
        found: dict[str, Plan] = {}
        for plan in self.plans:
            if plan.arm == sweep.baseline:
                found.setdefault(plan.config.task, plan)
        return found

    def with_findings(self, *more: Finding) -> Checked:
        """The same, and what else is to be told."""
        return replace(self, findings=(*self.findings, *more))


def refuse(problems: Iterable[str]) -> None:
    """Raise UsageError if there is any problem; each is told once."""
    if found := dict.fromkeys(problems):
        raise UsageError(*found)


def wrong_rules(sweep: Sweep, many: bool) -> Iterator[str]:
    """What no sweep may be, before any of its configurations is composed."""
    try:
        check_name(sweep.name)
        for task in sweep.tasks:
            task_set(task)
    except ValueError as error:
        yield str(error)
    for axis, values in sweep.space.items():
        if axis == "seed" or axis.startswith("evaluation."):
            yield f"axis {axis}: seeds and evaluation belong to the stages, not to the space"
        if not isinstance(values, Range) and not values:
            yield f"axis {axis} is empty: give at least one value"
        if axis in sweep.fixed:
            yield f"{axis} is an axis and fixed to {sweep.fixed[axis]!r} as well"
    if sweep.tensorboard and importlib.util.find_spec("tensorboard") is None:
        yield f"tensorboard=true needs a package that is not installed: {INSTALL_TENSORBOARD}"
    total = sum(sweep.planned_trials().values())
    if total > MOST_TRIALS:
        yield f"{total} trials are planned; a sweep holds at most {MOST_TRIALS}"
    elif total > MAX_TRIALS and not many:
        yield f"{total} trials are planned; --yes if more than {MAX_TRIALS} are meant"


def wrong_seeds(name: str, seeds: Sequence[int]) -> Iterator[str]:
    """What no set of seeds may be."""
    if not seeds:
        yield f"{name} is empty: give at least one seed"
    if len(set(seeds)) < len(seeds):
        yield f"{name} has a seed twice: {list(seeds)}"


def wrong_requests(sweep: Sweep, plans: Iterable[Plan]) -> Iterator[str]:
    """What no trial can ask for, wherever it runs."""
    plans = list(plans)
    on_cpu = dict.fromkeys(plan.arm for plan in plans if plan.config.device == "cpu")
    recomputing = dict.fromkeys(plan.arm for plan in plans if plan.config.recompute)
    if sweep.seeds_per_program > 1 and recomputing:
        yield (
            f"trial.together={sweep.seeds_per_program} trains seeds as one program, which cannot "
            f"recompute rollouts ({', '.join(recomputing)}); leave out one of both"
        )
    if sweep.accelerator and on_cpu:
        yield (
            f"trial.accelerator={sweep.accelerator} names a GPU, but device is cpu "
            f"({', '.join(on_cpu)}); add device=cuda"
        )
