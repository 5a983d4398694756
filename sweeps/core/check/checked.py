"""What a check finds out, and the rules that hold for every kind of sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flowpwm.config import RunConfig
from flowpwm.envs.tasks import task_set
from sweeps.core.protocol.plan import Plan, sized
from sweeps.core.protocol.requests import Sizing
from sweeps.core.spec.axes import Range
from sweeps.core.spec.settings import UsageError
from sweeps.core.spec.sweep import Sweep
from sweeps.core.store.folder import check_name

MAX_TRIALS = 10_000
FEWEST_TEST_SEEDS = 3
REFERENCE_HORIZON = 16  # of the published experiments; shorter ones bias the comparison


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
    warnings: tuple[str, ...]

    @property
    def largest(self) -> Plan:
        """The one that needs the most memory."""
        return max(self.demanding, key=lambda plan: plan.resources.memory_bytes)

    def sized(self, sweep: Sweep, sizing: Sizing) -> Checked:
        """The same, with every request made anew."""
        plans, demanding = (
            tuple(sized(plan, sweep, sizing) for plan in group)
            for group in (self.plans, self.demanding)
        )
        return dataclasses.replace(self, plans=plans, demanding=demanding)

    def of(self, arm: str) -> Plan:
        """The first run of an arm."""
        return next(plan for plan in self.plans if plan.arm == arm)


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
    total = sum(sweep.planned_trials().values())
    if total > MAX_TRIALS and not many:
        yield f"{total} trials are planned; --yes if more than {MAX_TRIALS} are meant"


def wrong_seeds(name: str, seeds: Sequence[int]) -> Iterator[str]:
    """What no set of seeds may be."""
    if not seeds:
        yield f"{name} is empty: give at least one seed"
    if len(set(seeds)) < len(seeds):
        yield f"{name} has a seed twice: {list(seeds)}"


def wrong_requests(sweep: Sweep, plans: Iterable[Plan]) -> Iterator[str]:
    """What no trial can ask for, wherever it runs."""
    for arm, plan in {plan.arm: plan for plan in plans if plan.config.device == "cpu"}.items():
        if sweep.accelerator:
            yield (
                f"{arm}: trial.accelerator={sweep.accelerator} names a GPU, but device is "
                f"{plan.config.device}; add device=cuda"
            )


def warnings_of(sweep: Sweep, config: RunConfig) -> Iterator[str]:
    """What weakens any comparison."""
    seeds = len(sweep.confirm.seeds)
    if seeds < FEWEST_TEST_SEEDS:
        yield f"{seeds} test seed(s): fewer than {FEWEST_TEST_SEEDS} give no usable interval"
    if config.horizon != REFERENCE_HORIZON:
        yield f"horizon {config.horizon}; the published reference uses {REFERENCE_HORIZON}"
    evaluations = -(-config.epochs // config.evaluation.every)
    if evaluations < 5:
        yield f"{evaluations} evaluations a run: a score is the mean of the last 5"
