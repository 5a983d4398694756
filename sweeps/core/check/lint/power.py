"""Whether the seeds of a comparison can show a difference as large as the margin."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding, listed
from sweeps.core.check.lint.earlier import EarlierRun, EarlierTrial, comparable_trials, those_of
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.settings import word_for
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.plan import Plan
from sweeps.core.reference.margins import margin_of, max_return
from sweeps.core.reference.noise import measured_noise, pooled
from sweeps.core.reference.welch import FEWEST_SEEDS, MOST_SEEDS, detectable, seeds_to_detect

MOST_TASKS = 4  # more are counted
#: A spread that fewer values tell of says nothing.
FEWEST_DEGREES = 2


@dataclass(frozen=True)
class Noise:
    """The standard deviation of final scores over seeds, and the mean of the baseline."""

    sd: float
    mean: float
    source: str


def findings(sweep: Sweep, checked: Checked, earlier: Sequence[EarlierRun]) -> Iterator[Finding]:
    """A line for every task where only differences beyond the margin would be seen."""
    n = len(sweep.confirm.seeds)
    if n < FEWEST_SEEDS:
        return  # there is no interval at all
    comparisons = sum(plan.arm != sweep.baseline for plan in checked.plans)
    if not comparisons:
        return  # one arm by itself
    holm = f", before Holm's correction over {comparisons}" if comparisons > 1 else ""
    weak: list[tuple[float, str]] = []
    unknown = []
    for task, plan in checked.baselines(sweep).items():
        noise = noise_of(checked.plans, plan, earlier)
        if noise is None:
            unknown.append(task)
            continue
        margin = margin_of(noise.mean, max_return(task))
        least = detectable(noise.sd, n)
        if least > margin:
            amount = _shown(least, noise.mean)
            told = f"{n} seeds find a difference of {amount} on {task} in 8 of 10 sweeps{holm}"
            weak.append((least / margin, f"{told}; {_enough(sweep, noise, margin)}"))
    weak.sort(reverse=True)
    yield from (Finding("power", text) for _, text in weak[:MOST_TASKS])
    if len(weak) > MOST_TASKS:
        yield Finding("power", f"likewise on {len(weak) - MOST_TASKS} more tasks")
    if unknown:
        yield Finding(
            "power",
            f"the noise over seeds on {listed(unknown, MOST_TASKS)} is not known here, so neither "
            f"is what {n} seeds can show: no earlier runs of this size, none on record",
        )


def noise_of(plans: Sequence[Plan], base: Plan, earlier: Sequence[EarlierRun]) -> Noise | None:
    """From earlier runs like these if there are any, else from what is on record."""
    kinds = {(plan.config.world_model.kind, plan.config.policy.kind) for plan in plans}
    trials = [t for t in comparable_trials(earlier, base) if (t.world_model, t.policy) in kinds]
    by_config: dict[str, list[EarlierTrial]] = {}
    for trial in trials:
        by_config.setdefault(trial.config_id, []).append(trial)
    groups = [[trial.score for trial in group] for group in by_config.values() if len(group) > 1]
    if sum(len(group) - 1 for group in groups) >= FEWEST_DEGREES:
        sd = pooled((statistics.stdev(group), len(group)) for group in groups)
        mean = statistics.mean(t.score for t in those_of(trials, base) or trials)
        return Noise(sd, mean, f"{sum(map(len, groups))} earlier trials")
    known = measured_noise(base.config.task, base.config.mode, base.budget, kinds)
    if not known:
        return None
    own = (base.config.world_model.kind, base.config.policy.kind)
    mean = next((row for row in known if (row.world_model, row.policy) == own), known[0]).mean
    unit = "epochs" if base.progress == "epoch" else "env steps"
    return Noise(
        pooled((row.sd, row.n) for row in known),
        mean,
        f"on record for {known[0].source} runs of {known[0].budget:,} {unit}",
    )


def _enough(sweep: Sweep, noise: Noise, margin: float) -> str:
    needed = seeds_to_detect(margin, noise.sd)
    word = word_for(sweep, "confirm.seeds")
    enough = f"{word}={needed} would find that" if needed else f"over {MOST_SEEDS} seeds would"
    pairs = "; compared in pairs, as here, fewer may do" if _in_pairs(sweep) else ""
    return (
        f"the margin is {_shown(margin, noise.mean)}, {enough} (noise over seeds "
        f"{_number(noise.sd)}: {noise.source}){pairs}"
    )


def _in_pairs(sweep: Sweep) -> bool:
    return isinstance(sweep, Compare) and bool(sweep.shared_state)


def _shown(amount: float, mean: float) -> str:
    return _number(amount) + (f" ({amount / abs(mean):.0%})" if mean else "")


def _number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.2g}"
