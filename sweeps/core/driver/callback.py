"""What Tune tells of its trials, as events. No hook ever raises: that would end the sweep."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError

from sweeps.core.host.nodes import is_elsewhere, is_lost
from sweeps.core.host.secrets import struck_out
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.retries import NODE, Retries
from sweeps.core.store.state import TrialRecord

# Ray names memory among the possible causes of every sudden death; only these say that it was.
_MEMORY_WORDS = ("OutOfMemoryError", "running low on memory")
# The same holds for nodes.
_NODE_WORDS = ("its node has died", "node was terminated", "node died", "the node is dead")


def _guarded(hook: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(hook)
    def call(self: EventCallback, *args: Any, **info: Any) -> None:
        try:
            hook(self, *args, **info)
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._on_error(error)

    return call


class EventCallback(tune.Callback):
    """Results and ends of trials go to the recorder, failed attempts to the retries.

    Errors of its own go to `on_error`.
    """

    def __init__(
        self,
        recorder: Recorder,
        retries: Retries,
        on_error: Callable[[Exception], None],
        is_lost: Callable[[str], bool] = is_lost,
        is_elsewhere: Callable[[str], bool] = is_elsewhere,
    ) -> None:
        self._recorder = recorder
        self._retries = retries
        self._on_error = on_error
        self._is_lost = is_lost
        self._is_elsewhere = is_elsewhere

    @_guarded
    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A start, an evaluation, a heartbeat, or the last word of a worker."""
        trial_id = result.get("of", trial.config["trial_id"])
        if result.get("outcome") == "interrupted" and not result["attempt"]:
            return  # it was about to start when the sweep was stopped
        if result.get("abandoned"):
            # A worker may outlive its node for long enough to say so.
            self._node_lost(self._recorder.state.trials[trial_id])
        elif result.get("outcome") == "failed":
            self._retries.failed(trial_id, result)
        else:
            self._recorder.heard(trial_id, result)
            if result.get("epoch"):
                self._retries.went_on()

    @_guarded
    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The end of a trial; one that a rung stopped has not said so itself."""
        for trial_id in _trials_of(trial):
            self._recorder.left(trial_id)

    @_guarded
    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """A worker died, or never came up."""
        error = error_of(trial)
        for trial_id in _trials_of(trial):
            self._lost(self._recorder.state.trials[trial_id], error)

    def _lost(self, record: TrialRecord, error: BaseException | None) -> None:
        """The worker of a trial is gone; one that it shared with others goes on without them."""
        if record.stop_decided:
            self._recorder.left(record.trial_id)
        elif not record.final:
            if self._is_node_lost(record, error):
                self._node_lost(record)
            elif self._is_cut_off(record, error):
                text = f"the connection to node {record.node} broke"
                self._retries.died(record.trial_id, NODE, text)
            else:
                self._retries.died(record.trial_id, classify(error), describe(error))

    def _node_lost(self, record: TrialRecord) -> None:
        self._retries.died(record.trial_id, NODE, f"node {record.node} was lost")

    def _is_node_lost(self, record: TrialRecord, error: BaseException | None) -> bool:
        """Whether the node is gone, and not just the worker."""
        if classify(error) != "killed":
            return False
        if getattr(error, "preempted", False) or any(word in str(error) for word in _NODE_WORDS):
            return True
        return record.node_id is not None and self._is_lost(record.node_id)

    def _is_cut_off(self, record: TrialRecord, error: BaseException | None) -> bool:
        """Whether only the way to the worker broke, as far as Ray knows."""
        # Between processes of one node nothing breaks: there it is a death of which Ray has not
        # heard yet.
        unheard = isinstance(error, ActorUnavailableError)
        return unheard and record.node_id is not None and self._is_elsewhere(record.node_id)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that we never do: we resume from our events.
        return {}


def _trials_of(trial: Any) -> list[str]:
    """Our trials in a trial of Tune's."""
    fellows = trial.config.get("fellows", ())
    return [trial.config["trial_id"], *(fellow["trial_id"] for fellow in fellows)]


def error_of(trial: Any) -> BaseException | None:
    """What ended the process of a trial.

    Tune's own `get_error` reads a copy in the results' storage, which is made only later.
    """
    path = trial.pickled_error_file
    if not path:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        # This process wrote it right before its callbacks are called. Ray's folders are open to
        # others, and to load a pickle is to run it: what somebody else put there is left alone.
        if os.fstat(handle).st_uid != os.geteuid():
            return None
        return cloudpickle.load(file)


def classify(error: BaseException | None) -> str:
    """The failure class of a trial whose process did not get to say it itself."""
    if any(word in str(error) for word in _MEMORY_WORDS):
        return "oom_host"
    died = isinstance(error, RayActorError) and "creation task" not in str(error)
    return "killed" if died else "error"


def describe(error: BaseException | None) -> str:
    """One line on why a worker is gone."""
    if isinstance(error, RayTaskError):
        return struck_out(str(error).strip().splitlines()[-1])
    if error is None:
        return "the worker process is gone"
    text = struck_out(" ".join(str(error).split()))
    if classify(error) == "oom_host":
        return f"the worker was killed for memory: {text[:200]}"
    if classify(error) == "error":
        return f"the worker could not start: {text[-200:]}"
    return f"the worker process died (killed, or out of memory): {text[:200]}"
