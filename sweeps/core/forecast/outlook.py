"""The forecast of a sweep before it starts: nominal, then earlier trials, then a canary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.definition.quantity import duration
from sweeps.core.definition.sweep import Sweep
from sweeps.core.forecast import canary, history
from sweeps.core.forecast.forecast import Forecast, forecast
from sweeps.core.forecast.rates import Correction, correction
from sweeps.core.protocol.plan import Plan
from sweeps.core.protocol.requests import Peak, Sizing
from sweeps.core.store.state import TrialRecord

#: A canary costs at most this, and this share of the sweep; below the least it says too little.
MOST_CANARY_S, CANARY_SHARE, LEAST_CANARY_S = 60.0, 0.03, 5.0
#: So many trials on hardware like this say more than a canary.
ENOUGH_RECORDED = 5


@dataclass(frozen=True)
class Outlook:
    """A forecast, what its times were corrected by, and what a reader should be warned of.

    `sizing` makes the requests of trials, by what runs like them held.
    """

    forecast: Forecast
    correction: Correction
    sizing: Sizing
    findings: tuple[Finding, ...]

    def on(
        self, slots: int, sweep: Sweep, checked: Checked, ended: Sequence[TrialRecord]
    ) -> Outlook:
        """The same with `slots` trials at a time, for what is left after those that `ended`."""
        again = forecast(sweep, checked, slots, self.correction, self.sizing, ended)
        return dataclasses.replace(self, forecast=again)


def look_ahead(
    sweep: Sweep,
    checked: Checked,
    slots: int,
    results: Path,
    here: Mapping[str, Any],
    gpu_bytes: int = 0,
    *,
    ended: Sequence[TrialRecord] = (),
    with_canary: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
    settle: Callable[[Forecast], None] = lambda forecast: None,
) -> Outlook:
    """What the sweep will take with `slots` trials at a time (0: not known, so no canary).

    `settle` sees the first forecast and may refuse, before a canary takes any time.

    `here` is `machine.environment`: earlier trials below `results` count if theirs was like it.
    Trials of this sweep that have `ended` take nothing more.
    """
    kinds = {plan.config.world_model.kind for plan in checked.plans}
    earlier = [
        run
        for run in history.recorded(results, here)
        if run.config.world_model.kind in kinds and run.config.device == _device(checked)
    ]
    found = correction(earlier, f"from {len(earlier)} earlier trials")
    sizing = Sizing(gpu_bytes, tuple(history.peaks(results)))
    first = forecast(sweep, checked, slots, found, sizing, ended)
    settle(first)
    seconds = min(MOST_CANARY_S, CANARY_SHARE * first.wall_s.est)
    known = {run.config.world_model.kind for run in earlier}
    enough = len(earlier) >= ENOUGH_RECORDED and kinds <= known
    if not with_canary or not slots or seconds < LEAST_CANARY_S or enough:
        return Outlook(first, found, sizing, ())
    measured, problems = canary.measure(representatives(checked, slots), seconds, should_stop)
    if measured:
        found = correction(measured, f"from a canary of {duration(seconds)}")
        # Its buffer is nearly empty: it shows what is held at the least.
        tried = [
            Peak(m.config, m.cost, m.host_peak_bytes, m.device_peak_bytes, False) for m in measured
        ]
        sizing = dataclasses.replace(sizing, peaks=(*sizing.peaks, *tried))
        first = forecast(sweep, checked, slots, found, sizing, ended)
    return Outlook(first, found, sizing, tuple(Finding("forecast", text) for text in problems))


def representatives(checked: Checked, slots: int) -> list[Plan]:
    """Runs that fill the machine as the sweep will: each kind and task once, the largest first."""
    ordered = sorted((checked.largest, *checked.plans), key=lambda plan: -plan.work_flops)
    chosen: dict[tuple[str, str], Plan] = {}
    for plan in ordered:
        chosen.setdefault((plan.config.world_model.kind, plan.config.task), plan)
    first = list(chosen.values())[:slots]
    return first + [ordered[0]] * (min(slots, len(checked.plans)) - len(first))


def _device(checked: Checked) -> str:
    return checked.largest.config.device
