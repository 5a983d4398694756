"""One W&B run in a process of its own; run as a script, with wandb as all that it needs.

Input, a line of JSON each: {"mode", "worker", "init"}, then [step, row] for every row. Output:
{"link"} and {"warning"}. It has left its parent at once, takes no CPU time that training wants,
and is gone a short time after its input has ended,
written or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import IO, Any

#: How long an online run may take to begin, before it is kept offline.
INIT_S = 10.0
#: How long the last rows may take. Offline nothing but a busy machine holds them up.
GOODBYE_S = {"online": 8.0, "offline": 30.0}
WAITING_ROWS = 10_000

Rows = queue.Queue[list[Any] | None]


def main() -> None:
    """Write what comes in until it ends."""
    if os.fork():
        os._exit(0)  # Ray ends the children of a worker with it
    with contextlib.suppress(OSError):
        os.nice(5)
    source, answers = _take_streams()
    began = time.monotonic()
    rows: Rows = queue.Queue(WAITING_ROWS)
    order = json.loads(source.readline())

    def tell(**answer: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

    writer = threading.Thread(target=_write, args=(order, rows, tell), daemon=True)
    writer.start()
    # Read on whatever the writer is waiting for, so that the trial never has to.
    for line in source:
        with contextlib.suppress(queue.Full):
            rows.put_nowait(json.loads(line))
    # A trial that was shorter than a server's silence still gets its offline run.
    goodbye_s = GOODBYE_S[order["mode"]]
    deadline = max(time.monotonic(), began + INIT_S) + goodbye_s
    with contextlib.suppress(queue.Full):
        rows.put(None, timeout=goodbye_s)
    writer.join(max(0.0, deadline - time.monotonic()))
    # wandb's hooks at exit may wait for a server again; its service ends with this process.
    os._exit(0)


def _take_streams() -> tuple[IO[str], IO[str]]:
    """The input and the output, and nothing of them left to what wandb starts or prints."""
    source, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return source, answers


def _write(order: dict[str, Any], rows: Rows, tell: Callable[..., None]) -> None:
    try:
        run = _begin(order, tell)
        while (row := rows.get()) is not None:
            step, values = row
            run.log(values, step=step)
        run.finish()
    except Exception as error:  # noqa: BLE001 - said to the trial's log, which is all there is
        tell(warning=f"wandb gave up: {_short(error)}")


def _begin(order: dict[str, Any], tell: Callable[..., None]) -> Any:
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # errors here are ours, not W&B's to collect
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_git=True,
        init_timeout=INIT_S,
        finish_timeout=GOODBYE_S["online"],
        login_timeout=INIT_S,
        x_stats_pid=order["worker"],
    )

    def begin(mode: str) -> Any:
        return wandb.init(**order["init"], mode=mode, reinit="create_new", settings=settings)

    if order["mode"] == "offline":
        return begin("offline")
    try:
        run = begin("online")
    except Exception as error:  # noqa: BLE001 - whatever it is, the run is kept offline
        tell(warning=f"wandb goes on offline: {_short(error)}")
        return begin("offline")
    if run.url:
        tell(link=run.url)
    return run


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()
