"""How much longer a running sweep will take: the forecast, corrected by the sweep's own trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from flowpwm.compose import from_dict
from flowpwm.cost import estimate
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune
from sweeps.core.forecast.caps import gpu_hours
from sweeps.core.forecast.forecast import Forecast, Range, expected_share, makespan, run_seconds
from sweeps.core.forecast.rates import START_S, Correction
from sweeps.core.store.state import TrialRecord

#: Until the trials of a sweep ran for so long together, their speed says little.
SETTLED_S = 60.0
#: However alike trials were so far, the next ones may differ by this.
LEAST_SPREAD = 1.1


class Remaining:
    """Seconds left, from what ran so far: slow trials make the rest long, whatever was forecast.

    `forecast` is of what was left when this driver began; `before` are the trials that had run.
    """

    def __init__(
        self,
        sweep: Sweep,
        forecast: Forecast,
        correction: Correction,
        before: Sequence[TrialRecord] = (),
    ) -> None:
        self._planned = sweep.planned_trials()
        self._screened = expected_share(sweep.screen) if isinstance(sweep, Tune) else 1.0
        self._slots, self._correction = forecast.slots, correction
        self._seconds: dict[str, float] = {}  # forecast of a whole trial, by configuration
        self.device = forecast.device
        self.hours = forecast.hours.est + self.spent_hours(before)

    def spent_hours(self, trials: Sequence[TrialRecord]) -> float:
        """Hours of `device` that trials have spent, over all their attempts."""
        if self.device == "GPU":
            return gpu_hours(trials)
        each = ((t.wall_time_s or 0.0) * float(t.resources.get("num_cpus") or 0.0) for t in trials)
        return sum(each) / 3600

    def seconds(self, trials: Sequence[TrialRecord]) -> Range | None:
        """Wall time that is left; None before any trial was planned."""
        if not trials:
            return None
        pace, spread = self._pace(trials)
        running = sum(1 / trial.together for trial in trials if trial.status == "RUNNING")
        usual = statistics.fmean(self._whole(trial) for trial in trials)
        left = 0.0
        for stage, count in self._planned.items():
            here = [trial for trial in trials if trial.stage == stage]
            # What runs first: a slot that is busy is not free for the next.
            times = sorted(
                (self._left(trial) for trial in here if not trial.final),
                key=lambda seconds: -seconds,
            )
            share = self._screened if stage == "screen" else 1.0
            times += [share * usual] * max(0, count - len(here))
            left += makespan(times, max(self._at_once(here), math.ceil(running), 1))
        return Range(left * pace, left * pace / spread, left * pace * spread)

    def _at_once(self, trials: Sequence[TrialRecord]) -> int:
        """Processes of a stage at a time. Where seeds share one it may fill a GPU that single
        trials share, and each seed pays its share of the time: they count like trials in a row.
        """
        shares = [
            float(trial.resources["num_gpus"]) / trial.num_gpus
            for trial in trials
            if trial.together > 1 and trial.num_gpus
        ]
        return int(self._slots * min([1.0, *shares]))

    def _whole(self, trial: TrialRecord) -> float:
        if trial.config_id not in self._seconds:
            config = from_dict(trial.config)
            self._seconds[trial.config_id] = run_seconds(config, estimate(config), self._correction)
        return self._seconds[trial.config_id]

    def _left(self, trial: TrialRecord) -> float:
        done = trial.epochs_done / (trial.epochs or 1)
        return self._whole(trial) - START_S if done == 0 else self._whole(trial) * (1 - done)

    def _pace(self, trials: Sequence[TrialRecord]) -> tuple[float, float]:
        """Seconds taken over seconds forecast, and by what factor trials differ in that."""
        taken, said, each = 0.0, 0.0, []
        for trial in trials:
            if not trial.epochs_done or not trial.wall_time_s:
                continue
            done = trial.epochs_done / (trial.epochs or 1)
            forecast = done * self._whole(trial)
            taken, said = taken + trial.wall_time_s, said + forecast
            if done >= 0.1:
                each.append(trial.wall_time_s / forecast)
        if taken < SETTLED_S:
            return 1.0, self._correction.spread
        pace = taken / said
        if len(each) < 3:
            return pace, min(self._correction.spread, 1.35)
        widest = max(max(each) / pace, pace / min(each))
        return pace, min(max(LEAST_SPREAD, widest), self._correction.spread)
