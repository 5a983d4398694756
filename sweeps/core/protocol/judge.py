"""Whether a trial goes on after an evaluation. Knows nothing of Ray: simulations ask it too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.rungs import Brackets


class Judge:
    """Rungs end trials of the screen; a score that is not finite ends any trial at once.

    Only the screen has rungs: what is compared afterwards runs to its end.
    """

    def __init__(self, brackets: Brackets, recorder: Recorder) -> None:
        self._brackets = brackets
        self._recorder = recorder

    def goes_on(self, job: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
        """Judge an evaluation; heartbeats, last results and runs without a score yet pass.

        `job` has the trial's trial_id, stage, epochs, budget and progress, as in `jobs.Job`.
        """
        score = result.get("score")
        if result.get("kind") != "evaluated" or score is None:
            return True
        progress = result[job["progress"]]
        if not math.isfinite(score):
            # No number comes back from this: at the next rung it would only have cost more.
            unit = job["progress"].replace("_", " ")
            message = f"score is {score} at {unit} {progress:,}"
            failure = {"failure_class": "diverged", "message": message}
            self._recorder.ended(job["trial_id"], "failed", dict(result) | failure)
            return False
        if job["stage"] != "screen":
            return True
        bracket = self._brackets.of(job["epochs"], job["budget"])
        variance = result.get("score_variance")
        decisions = bracket.judge(job["trial_id"], progress, score, variance)
        for decision in decisions:
            self._recorder.decided(decision, result)
        return all(decision.go_on for decision in decisions)
