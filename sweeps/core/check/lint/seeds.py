"""Seeds of a comparison that earlier sweeps of the task tuned on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.check.lint.earlier import EarlierRun
from sweeps.core.definition.settings import word_for
from sweeps.core.definition.sweep import FIRST_TEST_SEED, Sweep


def findings(sweep: Sweep, checked: Checked, earlier: Sequence[EarlierRun]) -> Iterator[Finding]:
    """What was chosen on a seed looks better on it than on others.

    Stages of one sweep cannot overlap: the check refuses that.
    """
    tested = set(sweep.confirm.seeds)
    for task in sweep.tasks:
        spent: dict[int, str] = {}
        for run in earlier:
            if task in run.tasks:
                spent |= dict.fromkeys(tested & run.tuning_seeds, run.name)
        if spent:
            seeds = ", ".join(map(str, sorted(spent)))
            runs = ", ".join(dict.fromkeys(spent.values()))
            yield Finding(
                "seeds",
                f"{seeds} on {task} were tuning seeds of {runs}; arms that were chosen there are "
                f"flattered. {word_for(sweep, 'confirm.seeds')}=N takes N from {FIRST_TEST_SEED} "
                "on, where nothing is tuned",
            )
