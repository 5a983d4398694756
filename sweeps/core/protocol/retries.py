"""What follows a failed attempt: the next step of the ladder, once more, or the trial's end.

Tune's own restarts would use the same resources again, also where it was memory that was missing.
So Tune retries nothing, and every failed attempt comes here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowpwm.compose import from_dict
from sweeps.core.protocol import ladder
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.requests import Resources
from sweeps.core.store.exits import read_exit
from sweeps.core.store.state import TrialRecord
from sweeps.core.worker.triallog import timed_out

#: Restarts by one driver of a trial whose process died, was not ended for memory and had got no
#: further than before.
MAX_DEATHS = 3
#: Nodes that a trial may lose without getting on between them: it could be what brings them down.
MAX_LOST_NODES = 10
#: After so many failed trials without an epoch of any in between it is no trial's fault.
MOST_IN_A_ROW = 6
#: Cause of a death that is the node's: it says nothing about the trial.
NODE = "node"
REPEAT = "repeat"
#: A worker that dies while it holds this share of its memory has died of it.
NEAR_LIMIT = 0.9


class Retries:
    """Decides after every failed attempt, records it, and has the trial handed out again.

    `again` hands a trial out once more, `node_memory_bytes` tells what the largest node has for
    trials, and `oom_kills` how often the kernel has killed for memory where workers run. `give_up`
    is called, with the reason, where everything seems to be broken.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        again: Callable[[str], None],
        node_memory_bytes: Callable[[], int],
        oom_kills: Callable[[], int],
        give_up: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._folder = folder
        self._recorder = recorder
        self._again = again
        self._node_memory_bytes = node_memory_bytes
        self._oom_kills = oom_kills
        self._give_up = give_up
        self._in_a_row = 0  # trials that failed, none of any having come to an epoch in between
        self._kills_known = oom_kills()
        self._deaths: Counter[str] = Counter()
        self._lost_nodes: Counter[str] = Counter()
        self._reached: dict[str, int] = {}  # the highest epoch at which a trial was lost

    def died(self, trial_id: str, cause: str, message: str) -> None:
        """The process of an attempt is gone; `cause` and `message` are what the driver heard.

        What the attempt left as its last words goes before. Neither deaths nor lost nodes are held
        against a trial that gets on between them.
        """
        record = self._recorder.state.trials[trial_id]
        if (said := self._last_words(record)) is not None:
            self.failed(trial_id, said)
            return
        if cause == "killed":
            cause, message = self._really(record) or (cause, message)
        if cause in (*ladder.MEMORY_CLASSES, "hang"):
            self.failed(trial_id, {"failure_class": cause, "message": message})
            return
        if self._too_often(record, cause):
            failure = {"failure_class": "killed" if cause == NODE else cause, "message": message}
            self._end(trial_id, failure)
            return
        if record.status == "RUNNING":
            text = f"{message}; goes on from its last checkpoint"
            told = {"attempt": record.attempt, "message": text, "cause": cause}
            self._recorder.ended(trial_id, "interrupted", told)
        self._again(trial_id)

    def went_on(self) -> None:
        """Some trial has done an epoch: whatever broke others has not broken everything."""
        self._in_a_row = 0

    def failed(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """An attempt ended with `failure_class` and `message`."""
        record = self._recorder.state.trials[trial_id]
        cause = result["failure_class"]
        taken = [failure.step for failure in record.failures if failure.step]
        if cause in ladder.MEMORY_CLASSES and (step := self._step(record, cause, taken)):
            self._requeue(trial_id, result, step.to_dict())
        elif cause == "hang" and REPEAT not in taken:
            self._requeue(trial_id, result, {"step": REPEAT})
        else:
            tried = f"; tried before: {', '.join(taken)}" if taken else ""
            result = dict(result) | {"message": f"{result['message']}{tried}"}
            self._end(trial_id, result)

    def _end(self, trial_id: str, result: Mapping[str, Any]) -> None:
        self._recorder.ended(trial_id, "failed", result)
        if self._recorder.state.trials[trial_id].epochs_done:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._in_a_row == MOST_IN_A_ROW:
            self._give_up(
                f"{MOST_IN_A_ROW} trials that failed one after the other, none with an epoch; the "
                f"last: {result['failure_class']}: {result['message']}"
            )

    def _too_often(self, record: TrialRecord, cause: str) -> bool:
        """Whether it was lost too often since it last got further than ever before."""
        trial_id = record.trial_id
        if record.epochs_done > self._reached.get(trial_id, -1):
            self._reached[trial_id] = record.epochs_done
            self._deaths[trial_id] = self._lost_nodes[trial_id] = 0
        lost, most = (
            (self._lost_nodes, MAX_LOST_NODES) if cause == NODE else (self._deaths, MAX_DEATHS)
        )
        lost[trial_id] += 1
        return lost[trial_id] > most

    def _step(self, record: TrialRecord, cause: str, taken: list[str]) -> ladder.Step | None:
        resources = Resources.from_dict(record.resources)
        config, node = from_dict(record.config), self._node_memory_bytes()
        return ladder.next_step(cause, taken, config, resources, node)

    def _requeue(self, trial_id: str, result: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._recorder.requeued(trial_id, result, given)
        self._again(trial_id)

    def _last_words(self, record: TrialRecord) -> dict[str, Any] | None:
        said = read_exit(self._folder, record.trial_id)
        if said is None or said["attempt"] < record.attempt:
            return None
        known = {failure.attempt for failure in record.failures}
        return None if said["attempt"] in known else said

    def _really(self, record: TrialRecord) -> tuple[str, str] | None:
        """What a process died of that could not say so itself, where it can be seen."""
        if record.log_path and timed_out(self._folder / record.log_path):
            return "hang", "not even its watchdog moved; the stacks are in its log"
        if self._killed_for_memory():
            return "oom_host", "the kernel killed the worker for memory"
        held, given = record.host_memory_bytes or 0, record.resources.get("memory_bytes") or 0
        if given and held >= NEAR_LIMIT * given:
            # Of what a kernel kills on another machine, or in the step of a job, this is all that
            # is seen.
            had = f"{held / 2**30:.2f} of {given / 2**30:.2f} GiB"
            return "oom_host", f"the worker was killed, and had held {had}"
        return None

    def _killed_for_memory(self) -> bool:
        # One death is one kill: of two at once each finds its own.
        if self._oom_kills() <= self._kills_known:
            return False
        self._kills_known += 1
        return True
