"""Arms that do not get the same data, updates or compute."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from flowpwm.config import RunConfig, flatten
from flowpwm.integrators import nfe
from flowpwm.modes import MODES
from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.definition.axes import Cell, value_text
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import NFE_AXES, Tune
from sweeps.core.protocol.plan import Plan, make_plan

#: Arms that differ in these get different amounts of data or of updates.
KEYS = (
    "epochs",
    "num_envs",
    "horizon",
    "wm_batch_size",
    "wm_horizon",
    "wm_updates",
    "wm_warmup_updates",
    "actor_updates",
    "actor_batch_size",
    "critic_iterations",
    "critic_minibatches",
)
SAME_FLOPS = 0.1
MOST_CELLS = 4096  # of a space so many are looked at


def findings(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """A line for each setting of the budget that differs, one for totals, one for FLOPs."""
    first = {arm: checked.of(arm) for arm in (sweep.baseline, *sweep.candidates)}
    yield from _settings(sweep, {arm: plan.config for arm, plan in first.items()})
    totals = [
        _differing(sweep, name, {arm: f"{count(plan):,}" for arm, plan in first.items()})
        for name, count in TOTALS.items()
    ]
    if any(totals):
        yield Finding("budget", f"over a run: {'; '.join(filter(None, totals))}")
    if len({plan.budget for plan in first.values()}) == 1:
        yield from _flops(sweep, checked)


def _settings(sweep: Sweep, configs: Mapping[str, RunConfig]) -> Iterator[Finding]:
    flat = {arm: flatten(config) for arm, config in configs.items()}
    for key in KEYS:
        if key in sweep.space:
            continue
        if told := _differing(sweep, key, {arm: value_text(v[key]) for arm, v in flat.items()}):
            yield Finding("budget", f"unequal {told}; {key}=... sets it for all arms")


def _differing(sweep: Sweep, name: str, values: Mapping[str, str]) -> str:
    """ "name: mlp 256, flow 512", with the arms that have not what the baseline has."""
    base = values[sweep.baseline]
    other = [f"{arm} {values[arm]}" for arm in sweep.candidates if values[arm] != base]
    return f"{name}: {sweep.baseline} {base}, {', '.join(other)}" if other else ""


def _world_model_updates(plan: Plan) -> int:
    config = plan.config
    if not MODES[config.mode].trains_world_model:
        return 0
    return config.wm_warmup_updates + config.epochs * config.wm_updates


def _actor_updates(plan: Plan) -> int:
    trains = MODES[plan.config.mode].trains_policy
    return plan.config.epochs * plan.config.actor_updates if trains else 0


def _critic_updates(plan: Plan) -> int:
    config = plan.config
    return _actor_updates(plan) * config.critic_iterations * config.critic_minibatches


#: What a whole run adds up to.
TOTALS: Mapping[str, Callable[[Plan], int]] = {
    "steps": lambda plan: plan.budget,
    "world-model updates": _world_model_updates,
    "actor updates": _actor_updates,
    "critic updates": _critic_updates,
}


def _flops(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """Equal steps are not equal compute: a flow's substeps have to be paid for."""
    ratios: dict[str, list[float]] = {}
    for plan, base in _pairs(sweep, checked):
        ratios.setdefault(plan.arm, []).append(plan.work_flops / base.work_flops)
    told = []
    for arm, found in ratios.items():
        if max(max(found), 1 / min(found)) > 1 + SAME_FLOPS:
            shown = dict.fromkeys(f"{ratio:.2f}" for ratio in (min(found), max(found)))
            told.append(f"{arm} {' to '.join(shown)}")
    if told:
        yield Finding(
            "flops",
            f"equal steps, but not equal compute; in FLOPs of {sweep.baseline}: {', '.join(told)}",
        )


def _pairs(sweep: Sweep, checked: Checked) -> Iterator[tuple[Plan, Plan]]:
    """Runs and those of the baseline that they are compared with; of a space its extremes."""
    if not isinstance(sweep, Tune):
        for base in checked.plans:
            for plan in checked.plans:
                if base.arm == sweep.baseline != plan.arm and _same_cell(plan, base):
                    yield plan, base
        return
    if sweep.cell_count() < math.inf:
        cells = list(itertools.islice(sweep.cells(), MOST_CELLS))
    else:
        plans = (checked.of(sweep.candidate), *checked.demanding)
        cells = [plan.cell for plan in plans if plan.arm == sweep.candidate]
    cells.sort(key=_velocity_calls)
    for cell in (cells[0], cells[-1]):
        plan, base = (
            make_plan(sweep, arm, "confirm", own, sweep.confirm.seeds[0])
            for arm, own in sweep.confirmed(cell)
        )
        yield plan, base


def _velocity_calls(cell: Cell) -> int:
    integrator, substeps = (cell.get(axis) for axis in NFE_AXES)
    return (nfe(integrator, 1) if integrator else 1) * (substeps or 1)


def _same_cell(plan: Plan, base: Plan) -> bool:
    """Whether a run of the baseline is what a run is compared with."""
    return all(plan.cell.get(key) == value for key, value in base.cell.items())
