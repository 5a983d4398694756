"""Settings of runs and seeds that a result is only as good as."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.definition.settings import word_for
from sweeps.core.definition.sweep import Sweep
from sweeps.core.reference.welch import FEWEST_SEEDS
from sweeps.core.store.schema import SCORE_WINDOW

REFERENCE_HORIZON = 16  # of the published experiments; shorter ones bias the comparison


def findings(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """One arm alone, too few seeds or evaluations, and another horizon than the published one."""
    if len(sweep.arms) == 1:
        yield Finding("arms", f"one arm ({sweep.baseline}): nothing is compared")
    seeds = len(sweep.confirm.seeds)
    if seeds == 1:
        yield Finding("seeds", "1 test seed: no interval is possible, nothing can be concluded")
    elif seeds < FEWEST_SEEDS:
        yield Finding("seeds", f"{seeds} test seeds give no usable interval: {_least(sweep)}")
    longest = max((checked.largest, *checked.plans), key=lambda plan: plan.config.epochs).config
    if longest.horizon != REFERENCE_HORIZON:
        yield Finding(
            "reference",
            f"horizon {longest.horizon}; the published reference uses {REFERENCE_HORIZON}",
        )
    evaluations = -(-longest.epochs // longest.evaluation.every)
    if evaluations < SCORE_WINDOW:
        yield Finding(
            "score", f"{evaluations} evaluations a run: a score is the mean of the last 5"
        )


def _least(sweep: Sweep) -> str:
    return f"{word_for(sweep, 'confirm.seeds')}={FEWEST_SEEDS} is the least"
