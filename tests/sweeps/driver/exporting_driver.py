"""A driver on a Ray of its own that exports what a made-up sweep does: python -m ... FOLDER.

Prints where Prometheus finds it, and reports until it is killed.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from sweeps.core.check.sweep import check
from sweeps.core.forecast.forecast import forecast
from sweeps.core.forecast.rates import Correction
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.host import cluster
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.events import EventLog
from tests.sweeps.tiny import PLAN

WHERE = {"attempt": 1, "env_steps": 0, "log_path": "logs/a-001.log"}
HEARTBEAT = WHERE | {"epoch": 151, "score": 25.5, "wall_time_s": 3600.0}
REMAINING = Remaining(PLAN, forecast(PLAN, check(PLAN), 2, Correction()), Correction())


def recorded(folder: Path) -> Recorder:
    """Three trials on half a GPU each: one is done after an hour, one has failed, one runs."""
    recorder = Recorder(EventLog(folder, "driver"))
    ends = {1: ("completed", 20.0), 2: ("failed", 30.0), 4: ("", 25.5)}
    for substeps, (end, score) in ends.items():
        plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": substeps}, 0)
        resources = dataclasses.replace(plan.resources, num_gpus=0.5)
        recorder.planned(dataclasses.replace(plan, resources=resources))
        recorder.started(plan.trial_id, WHERE | {"epoch": 0})
        done = WHERE | {"epoch": 150, "score": score, "wall_time_s": 3600.0}
        recorder.progressed(plan.trial_id, done | {"kind": "evaluated"})
        if end:
            why = {"failure_class": "error", "message": "no"} if end == "failed" else {}
            recorder.ended(plan.trial_id, end, done | why)
    return recorder


def main(folder: Path) -> None:
    cluster.prepare(None)
    with cluster.connected(None) as here:
        from sweeps.core.driver.gauges import Gauges

        recorder = recorded(folder)
        running = next(t.trial_id for t in recorder.trials() if t.status == "RUNNING")
        with Gauges("flow_tuning", folder, recorder, REMAINING, print, period_s=1.0):
            print(here.metrics, flush=True)
            while True:
                time.sleep(0.1)
                recorder.progressed(running, HEARTBEAT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
