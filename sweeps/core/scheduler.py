"""Rungs as Tune sees them: results in, CONTINUE or STOP out. The rules are in `rungs`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweeps.core.recorder import Recorder
from sweeps.core.rungs import Brackets


class RungScheduler(FIFOScheduler):
    """First come, first served; a trial that is not among the best at a rung stops there.

    Only the screen has rungs: what is compared afterwards runs to its end. Errors go to
    `on_error`: raised here they would end the whole sweep.
    """

    def __init__(
        self, brackets: Brackets, recorder: Recorder, on_error: Callable[[Exception], None]
    ) -> None:
        super().__init__()
        self._brackets = brackets
        self._recorder = recorder
        self._on_error = on_error

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Judge an evaluation; heartbeats and last results pass."""
        if trial.config["stage"] != "screen" or result.get("kind") != "evaluated":
            return TrialScheduler.CONTINUE
        try:
            return self._judge(trial.config, result)
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._on_error(error)
            return TrialScheduler.CONTINUE

    def _judge(self, job: dict[str, Any], result: dict[str, Any]) -> str:
        bracket = self._brackets.of(job["epochs"], job["budget"])
        decisions = bracket.judge(job["trial_id"], result[job["progress"]], result["score"])
        for decision in decisions:
            self._recorder.decided(decision)
        stays = all(decision.go_on for decision in decisions)
        return TrialScheduler.CONTINUE if stays else TrialScheduler.STOP

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its scheduler for a restore that we never do: we resume from our events.
        return {}
