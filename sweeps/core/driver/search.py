"""What Tune asks for its next trial: the stages answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ray.tune.search import Searcher

from sweeps.core.protocol.plan import Plan


class StageSearch(Searcher):
    """Hands out the plans of an iterator, in which None means to wait for running trials.

    `job_of` turns a plan into what the worker gets; `on_queued` is told of each that is handed out.
    While `hold` says so, no trial starts. Errors go to `on_error` and end the search: raised here
    they would end the whole sweep.
    """

    def __init__(
        self,
        plans: Iterator[Plan | None],
        job_of: Callable[[Plan], dict[str, Any]],
        on_queued: Callable[[Plan], None],
        should_stop: Callable[[], bool],
        on_error: Callable[[Exception], None],
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self._plans = plans
        self._hold = hold
        self._job_of = job_of
        self._on_queued = on_queued
        self._should_stop = should_stop
        self._on_error = on_error
        self._live = 0
        self.exhausted = False

    def suggest(self, trial_id: str) -> Any:
        """The next job, None to be asked again, or FINISHED. `trial_id` is Tune's own name."""
        if self._should_stop():
            return Searcher.FINISHED
        if self._hold():
            return None
        try:
            plan = next(self._plans)
            if plan is not None:
                for each in plan.all:
                    self._on_queued(each)
            elif not self._live:
                raise RuntimeError("a stage waits for trials that Tune no longer runs")
        except StopIteration:
            self.exhausted = True
            return Searcher.FINISHED
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._on_error(error)
            return Searcher.FINISHED
        if plan is None:
            return None
        self._live += 1
        return self._job_of(plan)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Count; what became of the trial goes from the recorder to the source."""
        self._live -= 1

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a resume reads our events and Optuna's journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: sweeps are resumed without Tune's state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
