"""Rungs as Tune sees them: results in, CONTINUE or STOP out. The rules are in `judge`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweeps.core.protocol.judge import Judge
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.rungs import Brackets


class RungScheduler(FIFOScheduler):
    """First come, first served; a trial that the judge ends stops there.

    Errors go to `on_error`: raised here they would end the whole sweep.
    """

    def __init__(
        self, brackets: Brackets, recorder: Recorder, on_error: Callable[[Exception], None]
    ) -> None:
        super().__init__()
        self._judge = Judge(brackets, recorder)
        self._on_error = on_error

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge a result. Of seeds in one program none has a rung, and none ends the others."""
        if trial.config.get("fellows"):
            return TrialScheduler.CONTINUE
        try:
            stays = self._judge.goes_on(trial.config, result)
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._on_error(error)
            return TrialScheduler.CONTINUE
        return TrialScheduler.CONTINUE if stays else TrialScheduler.STOP

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its scheduler for a restore that we never do: we resume from our events.
        return {}
