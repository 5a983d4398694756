"""A trial in a process of its own, outside of Ray: python -m ... FOLDER EPOCHS [WORD ...].

Prints, as its last line, how long trackers held the trial up, and what it ended with.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from sweeps.core.protocol.plan import make_plan
from sweeps.core.worker import trainable
from sweeps.core.worker.jobs import make_job
from sweeps.core.worker.tracking.trackers import Trackers
from tests.sweeps.tiny import RUN, asked


class Timed(Trackers):
    """The real ones, and the seconds that the trial's own thread was in them."""

    seconds = 0.0

    def __enter__(self) -> Any:
        with clock:
            return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        with clock:
            super().__exit__(*exc)

    def log(self, report: Any) -> None:
        with clock:
            super().log(report)


class Clock:
    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *exc: object) -> None:
        Timed.seconds += time.perf_counter() - self.began


clock = Clock()


def main(folder: Path, epochs: str, words: list[str]) -> None:
    sizes = [word for word in RUN if not word.startswith("report_every")]
    sweep = asked(*sizes, "report_every=1", f"epochs={epochs}", *words)
    plan = make_plan(sweep, "mlp", "confirm", {"task": "point-mass"}, 42)
    (folder / "events").mkdir(parents=True, exist_ok=True)
    trainable.Trackers = Timed
    began = time.perf_counter()
    result = trainable.run_job(make_job(plan, folder, sweep.name, sweep.trackers))
    took = time.perf_counter() - began
    print(json.dumps({"held_up_s": Timed.seconds, "took_s": took, "result": result}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
