"""The whole sweep checked before anything starts: every configuration composed, every rule held."""

from __future__ import annotations

from flowpwm.checks import ConfigError
from sweeps.core.check.checked import Checked
from sweeps.core.check.compare import check_compare
from sweeps.core.check.tune import check_tune
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.protocol.requests import NOTHING_KNOWN, Sizing


def check(sweep: Sweep, *, many: bool = False, sizing: Sizing = NOTHING_KNOWN) -> Checked:
    """Raise UsageError with a line for every problem, or say what is about to run.

    `many` allows more than 10,000 trials.
    """
    try:
        if isinstance(sweep, Tune):
            return check_tune(sweep, many=many, sizing=sizing)
        assert isinstance(sweep, Compare)
        return check_compare(sweep, many=many, sizing=sizing)
    except ConfigError as error:  # sizes that compose, but that nothing can be made of
        raise UsageError(str(error)) from error
