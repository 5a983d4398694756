"""What Tune tells of its trials, as events. No hook ever raises: that would end the sweep."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from sweeps.core.recorder import Recorder

# Ray names memory among the possible causes of every sudden death; only these say that it was.
_MEMORY_WORDS = ("OutOfMemoryError", "running low on memory")


def _guarded(hook: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(hook)
    def call(self: EventCallback, *args: Any, **info: Any) -> None:
        try:
            hook(self, *args, **info)
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._on_error(error)

    return call


class EventCallback(tune.Callback):
    """Results, ends and deaths of trials go to the recorder; errors of its own to `on_error`."""

    def __init__(self, recorder: Recorder, on_error: Callable[[Exception], None]) -> None:
        self._recorder = recorder
        self._on_error = on_error

    @_guarded
    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A start, an evaluation, a heartbeat, or the last word of a worker."""
        trial_id = trial.config["trial_id"]
        if result.get("outcome") == "interrupted" and not result["attempt"]:
            return  # it was about to start when the sweep was stopped
        self._recorder.heard(trial_id, result)

    @_guarded
    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The end of a trial; one that a rung stopped has not said so itself."""
        self._recorder.left(trial.config["trial_id"])

    @_guarded
    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A worker died; Tune starts another."""
        record = self._recorder.state.trials[trial.config["trial_id"]]
        if record.status == "RUNNING":
            message = f"{describe(trial.get_error())}; goes on from its last checkpoint"
            self._recorder.ended(record.trial_id, "interrupted", {"message": message})

    @_guarded
    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Workers of this trial died too often, or never came up."""
        record = self._recorder.state.trials[trial.config["trial_id"]]
        if record.final:
            return
        error = trial.get_error()
        failure = {"failure_class": classify(error), "message": describe(error)}
        self._recorder.ended(record.trial_id, "failed", failure)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that we never do: we resume from our events.
        return {}


def classify(error: BaseException | None) -> str:
    """The failure class of a trial whose process did not get to say it itself."""
    if any(word in str(error) for word in _MEMORY_WORDS):
        return "oom_host"
    died = isinstance(error, RayActorError) and "creation task" not in str(error)
    return "killed" if died else "error"


def describe(error: BaseException | None) -> str:
    """One line on why a worker is gone."""
    if isinstance(error, RayTaskError):
        return str(error).strip().splitlines()[-1]
    if error is None:
        return "the worker process is gone"
    text = " ".join(str(error).split())
    if classify(error) == "oom_host":
        return f"the worker was killed for memory: {text[:200]}"
    if classify(error) == "error":
        return f"the worker could not start: {text[-200:]}"
    return f"the worker process died (killed, or out of memory): {text[:200]}"
