"""What a sweep will take: hours of GPU or CPU, wall time, disk; each with a range."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowpwm.config import RunConfig
from flowpwm.cost import Cost
from sweeps.core.check.checked import Checked
from sweeps.core.definition.axes import Cell, cell_text
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.quantity import duration, hours_text
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Screen, Tune
from sweeps.core.forecast.rates import START_S, Correction, warmup_share
from sweeps.core.protocol.grid import Grid, is_enumerable
from sweeps.core.protocol.plan import Plan, make_plan
from sweeps.core.protocol.programs import in_programs
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing
from sweeps.core.store.state import TrialRecord

#: Of a trial's series, a report; measured at 60 to 75 bytes a row after and 300 before compaction.
REPORT_BYTES = 400
MOST_CELLS = 64  # of a large space so many are looked at, and their mean stands for the rest


@dataclass(frozen=True)
class Range:
    """An amount that is expected, and between what it will probably lie."""

    est: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        """All three, scaled."""
        return Range(self.est * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Forecast:
    """`hours` of `device` ("GPU" or "CPU"); `wall_s` seconds with `slots` trials at a time; where
    `slots` is 0 that is not known yet, and one trial at a time stands for it.

    `longest` names the run that takes longest, `longest_s` seconds from its start to its end.
    """

    device: str
    hours: Range
    wall_s: Range
    checkpoint_bytes: int
    results_bytes: int
    slots: int
    source: str
    longest: str = ""
    longest_s: float = 0.0

    @property
    def disk_bytes(self) -> int:
        """Everything that the sweep will have written at its end."""
        return self.checkpoint_bytes + self.results_bytes


def run_seconds(config: RunConfig, cost: Cost, found: Correction, together: int = 1) -> float:
    """Seconds of a trial that runs to its end, alone on what it asks for; of a program of so many
    seeds, until all of them have.
    """
    each = found.seconds(config, cost, together)
    evaluations = -(-config.epochs // config.evaluation.every)
    return START_S + together * (
        config.epochs * (each.environment + each.learning)
        + each.learning * warmup_share(config, cost)
        + evaluations * each.evaluation
    )


def forecast(
    sweep: Sweep,
    checked: Checked,
    slots: int,
    found: Correction,
    sizing: Sizing = NOTHING_KNOWN,
    ended: Sequence[TrialRecord] = (),
) -> Forecast:
    """What the sweep takes with `slots` trials at a time (0: not known yet), without those that
    have `ended`.
    """
    stages = _left(_stages(sweep, checked, sizing), ended)
    shares = {
        stage: expected_share(sweep.screen)
        if stage == "screen" and isinstance(sweep, Tune)
        else 1.0
        for stage in stages
    }
    processes = {
        stage: plans if stage == "screen" else in_programs(plans, sweep, sizing)
        for stage, plans in stages.items()
    }
    times = {
        stage: [run_seconds(p.config, p.cost, found, len(p.all)) for p in plans]
        for stage, plans in processes.items()
    }
    expected = {stage: [shares[stage] * t for t in ts] for stage, ts in times.items()}
    at_once = {stage: _at_once(plans, checked, slots or 1) for stage, plans in processes.items()}
    # At best the rungs stop as many as they may, at worst none.
    wall, most = (
        sum(makespan(ts, at_once[stage]) for stage, ts in each.items())
        for each in (expected, times)
    )
    device = "GPU" if checked.largest.resources.num_gpus else "CPU"
    work = sum(
        _devices(plan) * t
        for stage, ts in expected.items()
        for plan, t in zip(processes[stage], ts, strict=True)
    )
    plans = list(itertools.chain.from_iterable(stages.values()))
    programs = list(itertools.chain.from_iterable(processes.values()))
    names = (" ".join(filter(None, [plan.arm, cell_text(plan.cell)])) for plan in programs)
    runs = zip(itertools.chain.from_iterable(times.values()), names, strict=True)
    # Where all have ended there is none.
    longest_s, longest = max(runs, key=lambda run: run[0], default=(0.0, ""))
    at_work = max(
        (at_once[stage] * len(p.all) for stage, group in processes.items() for p in group),
        default=0,
    )
    reports = sum(-(-plan.config.epochs // plan.config.report_every) for plan in plans)
    return Forecast(
        device=device,
        hours=_range(work / 3600, work / 3600 * most / (wall or 1), found.spread),
        wall_s=_range(wall, most, found.spread),
        checkpoint_bytes=_checkpoint_bytes(plans, at_work),
        results_bytes=reports * REPORT_BYTES,
        slots=slots,
        source=found.source,
        longest=longest,
        longest_s=longest_s,
    )


def configurations(sweep: Sweep, checked: Checked, sizing: Sizing = NOTHING_KNOWN) -> list[Plan]:
    """Each configuration of the sweep once, whatever its seeds; of a space too large for that,
    those that stand for it.
    """
    every = itertools.chain.from_iterable(_stages(sweep, checked, sizing).values())
    return list({(plan.arm, plan.config_id): plan for plan in every}.values())


def _checkpoint_bytes(plans: Sequence[Plan], at_work: int) -> int:
    """At the most: the largest are at work, and all have ended but them."""
    kept = sorted((plan.cost.kept_bytes for plan in plans), reverse=True)
    working = sorted((plan.cost.checkpoint_bytes for plan in plans), reverse=True)
    return sum(working[:at_work]) + sum(kept[at_work:])


def expected_share(screen: Screen) -> float:
    """The mean share of its budget that a screened trial runs, if every rung stops what it may."""
    edges = [0.0, *screen.rungs, 1.0]
    return sum(
        (upper - lower) / screen.reduction**passed
        for passed, (lower, upper) in enumerate(itertools.pairwise(edges))
    )


def makespan(times: Sequence[float], slots: int) -> float:
    """Seconds until all are done, each starting in order on the slot that is free first."""
    free = [0.0] * min(slots, len(times))
    for seconds in times:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free, default=0.0)


def forecast_text(forecast: Forecast, free_bytes: int, now: datetime) -> str:
    """One paragraph for the start page."""
    hours, wall = forecast.hours, forecast.wall_s
    ends = [now + timedelta(seconds=seconds) for seconds in (wall.est, wall.low, wall.high)]
    clock = "%H:%M" if wall.high < 20 * 3600 else "%a %H:%M"
    if wall.high > 6 * 86_400:
        clock = "%Y-%m-%d"
    end, early, late = (time.strftime(clock) for time in ends)
    takes = f"wall {duration(wall.est)} ({duration(wall.low)} to {duration(wall.high)})"
    takes += f", ends {end} ({early} to {late})" if forecast.slots else " with one trial at a time"
    return (
        f"{hours_text(hours.est)} {forecast.device}-hours ({hours_text(hours.low)} to "
        f"{hours_text(hours.high)}), {takes}; "
        f"checkpoints up to {size_text(forecast.checkpoint_bytes)}, results "
        f"{size_text(forecast.results_bytes)} (free {size_text(free_bytes)})   "
        f"[{forecast.source}]"
    )


def size_text(amount: float) -> str:
    """Bytes in a unit that a reader can hold in mind."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if amount >= size:
            return f"{amount / size:.3g} {unit}"
    return f"{amount / 1e3:.3g} kB"


def _range(est: float, most: float, spread: float) -> Range:
    return Range(est, est / spread, max(est, most) * spread)


def _at_once(processes: Sequence[Plan], checked: Checked, slots: int) -> int:
    """How many of them run at a time where `slots` trials would: a program may fill a GPU that
    single trials share.
    """
    widest = max(map(_devices, processes), default=0.0)
    trial = _devices(checked.largest)
    return max(1, int(slots * min(1.0, trial / widest))) if widest else slots


def _devices(plan: Plan) -> float:
    return plan.resources.num_gpus or plan.resources.num_cpus


def _stages(sweep: Sweep, checked: Checked, sizing: Sizing) -> dict[str, list[Plan]]:
    """The trials of every stage; of a tune sweep's later ones, trials like those it will pick."""
    if isinstance(sweep, Compare):
        return {"confirm": list(checked.plans) * len(sweep.confirm.seeds)}
    assert isinstance(sweep, Tune)
    counts = sweep.planned_trials()
    screened = [
        make_plan(sweep, sweep.candidate, "screen", cell, sweep.screen.seed, sizing)
        for cell in _cells(sweep, checked)
    ]
    # Whichever wins: cells in the middle of the screen's cost stand for it.
    screened.sort(key=lambda plan: plan.work_flops)
    middle = screened[len(screened) // 2]
    base = make_plan(
        sweep,
        sweep.baseline,
        "confirm",
        sweep.shared(middle.cell),
        sweep.confirm.seeds[0],
        sizing,
    )
    return {
        "screen": [plan for _, plan in zip(range(counts["screen"]), itertools.cycle(screened))],
        "select": [middle] * counts["select"],
        "confirm": [middle, base] * len(sweep.confirm.seeds),
    }


def _left(stages: Mapping[str, list[Plan]], ended: Sequence[TrialRecord]) -> dict[str, list[Plan]]:
    """What is still to be done: of trials that only stand for those to come, so many fewer."""
    left = {}
    for stage, plans in stages.items():
        done = Counter(trial.config_id for trial in ended if trial.stage == stage)
        kept = []
        for plan in plans:
            if done[plan.config_id]:
                done[plan.config_id] -= 1
            else:
                kept.append(plan)
        left[stage] = kept[min(done.total(), len(kept)) :]
    return left


def _cells(sweep: Tune, checked: Checked) -> list[Cell]:
    if not is_enumerable(sweep):
        ours = [plan for plan in checked.demanding if plan.arm == sweep.candidate]
        largest = max(ours, key=lambda plan: plan.resources.memory_bytes)
        dearest = max(ours, key=lambda plan: plan.work_flops)
        some = (largest, dearest, checked.of(sweep.candidate))
        return list({plan.config_id: plan.cell for plan in some}.values())
    source, cells = Grid(sweep), []
    while len(cells) < min(MOST_CELLS, sweep.planned_trials()["screen"]):
        cell = source.next()
        if cell is None:
            break
        cells.append(cell)
    return cells
