"""One W&B run in a process of its own; run as a script, with wandb as all that it needs.

Input, a line of JSON each: {"mode", "worker", "init"}, then [step, row] for every row. Output:
{"link"} and {"warning"}. It leaves its parent at once, has less claim to a CPU than training, and
is gone soon after its input has ended, written or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import threading
import time
from pathlib import Path
from typing import IO, Any

#: How long an online run may take to begin, before it is kept offline.
INIT_S = 10.0
#: How long a server may take with the last rows of an online run. They are on the disk by then.
FINISH_S = 8.0
#: However slow the machine is, once the input has ended no step may take longer than this.
PATIENCE_S = 60.0
WAITING_ROWS = 10_000


def main() -> None:
    """Write what comes in until it ends."""
    if os.fork():
        os._exit(0)  # Ray ends the children of a worker with it
    with contextlib.suppress(OSError):
        os.nice(5)
    source, answers = _take_streams()
    run = _Run(json.loads(source.readline()), answers)
    run.thread.start()
    # Read on whatever the run is waiting for, so that the trial never has to.
    for line in source:
        with contextlib.suppress(queue.Full):
            run.rows.put_nowait(json.loads(line))
    ended = time.monotonic()
    with contextlib.suppress(queue.Full):
        run.rows.put(None, timeout=PATIENCE_S)
    # A trial that was shorter than a server's silence still gets its offline run.
    while run.thread.is_alive() and time.monotonic() < max(ended, run.moved_at) + PATIENCE_S:
        run.thread.join(0.1)
    # wandb's hooks at exit may wait for a server again; its service ends with this process.
    os._exit(0)


def _take_streams() -> tuple[IO[str], IO[str]]:
    """The input and the output, and nothing of them left to what wandb starts or prints."""
    source, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return source, answers


class _Run:
    """The run, written by a thread; `moved_at` is when it last got a step further."""

    def __init__(self, order: dict[str, Any], answers: IO[str]) -> None:
        self._order, self._answers = order, answers
        self.rows: queue.Queue[list[Any] | None] = queue.Queue(WAITING_ROWS)
        self.moved_at = time.monotonic()
        self.thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        try:
            run = self._begin()
            self.moved_at = time.monotonic()
            while (row := self.rows.get()) is not None:
                step, values = row
                run.log(values, step=step)
            run.finish()
        except Exception as error:  # noqa: BLE001 - told to the trial's log, which is all there is
            self._tell(warning=f"wandb gave up: {_short(error)}")

    def _begin(self) -> Any:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # errors here are not W&B's to collect
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_save_requirements=False,
            init_timeout=INIT_S,
            finish_timeout=FINISH_S,
            login_timeout=INIT_S,
            x_stats_pid=self._order["worker"],
        )

        def begin(mode: str) -> Any:
            self.moved_at = time.monotonic()
            arguments = {"mode": mode, "reinit": "create_new", "settings": settings}
            return wandb.init(**self._order["init"], **arguments)

        if self._order["mode"] == "offline":
            return begin("offline")
        before = self._folders()
        try:
            run = begin("online")
        except Exception as error:  # noqa: BLE001 - whatever it is, the run is kept offline
            self._tell(warning=f"wandb goes on offline: {_short(error)}")
            wandb.teardown()  # its service takes no second run of an id that it still tries
            for empty in self._folders() - before:
                shutil.rmtree(empty, ignore_errors=True)
            return begin("offline")
        if run.url:
            self._tell(link=run.url)
        return run

    def _folders(self) -> set[Path]:
        """Of online runs of this id; every attempt has one."""
        init = self._order["init"]
        return set(Path(init["dir"], "wandb").glob(f"run-*-{init['id']}"))

    def _tell(self, **answer: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            self._answers.write(json.dumps(answer) + "\n")
            self._answers.flush()


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()
