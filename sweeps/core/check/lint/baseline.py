"""A baseline that earlier runs showed outside of what was published for the task."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.check.lint.earlier import EarlierRun, comparable_trials, those_of
from sweeps.core.definition.sweep import Sweep
from sweeps.core.reference.published import published_range


def findings(sweep: Sweep, checked: Checked, earlier: Sequence[EarlierRun]) -> Iterator[Finding]:
    """Whatever beats a baseline that does not work has shown nothing."""
    for task, plan in checked.baselines(sweep).items():
        trials = those_of(comparable_trials(earlier, plan), plan)
        if not trials:
            continue
        mean = statistics.mean(trial.score for trial in trials)
        steps = round(statistics.mean(trial.budget for trial in trials))
        published = published_range(task, online=plan.config.mode == "online", env_steps=steps)
        if published is None or not published.outside(mean):
            continue
        yield Finding(
            "baseline",
            f"{sweep.baseline} reached {mean:.4g} on {task} in {len(trials)} earlier trials "
            f"({trials[0].run}), published are {published}: {published.doubt(mean)}",
        )
