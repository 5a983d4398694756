"""Every rule of the lint, in the order in which its findings are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.check.lint import (
    baseline,
    budgets,
    confounded,
    devices,
    power,
    protocol,
    seeds,
    space,
)
from sweeps.core.check.lint.earlier import EarlierRun
from sweeps.core.definition.sweep import Sweep

RULES: tuple[Callable[[Sweep, Checked], Iterator[Finding]], ...] = (
    protocol.findings,
    confounded.findings,
    budgets.findings,
    space.findings,
    devices.findings,
)
#: These know more where earlier sweeps have left results.
RULES_OF_EARLIER: tuple[
    Callable[[Sweep, Checked, Sequence[EarlierRun]], Iterator[Finding]], ...
] = (
    power.findings,
    seeds.findings,
    baseline.findings,
)


def lint(sweep: Sweep, checked: Checked, earlier: Sequence[EarlierRun] = ()) -> list[Finding]:
    """What weakens a sweep that the check lets through."""
    return [
        *(finding for rule in RULES for finding in rule(sweep, checked)),
        *(finding for rule in RULES_OF_EARLIER for finding in rule(sweep, checked, earlier)),
    ]
