"""Work in a process of its own, forked from one that has imported torch and Ray for all of them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeps.core.store import patience
from sweeps.core.store.compact import Tables, compact, read_tables
from sweeps.core.worker import trainable
from sweeps.core.worker.jobs import Job
from sweeps.core.worker.watchdog import Limits
from tests.sweeps.faults.steps import Breakage, Nothing, Steps
from tests.sweeps.misbehaving_trial import job
from tests.sweeps.tiny import science

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.sweeps.faults.warm"])
TRIAL = "c1-s0"
EPOCHS = 6
#: A run that says something of every epoch, and evaluates at every second one.
RUN = {"epochs": EPOCHS, "evaluation__every": 2, "horizon": 2, "num_envs": 4}


class Child:
    """`work(*arguments)` in another process, from now on."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._answer, send = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=_call, args=(send, work, arguments))
        self.process.start()
        send.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 400) -> None:
        """Wait until it got as far as that."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}"
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self, timeout_s: float = 120) -> Any:
        """What the work returned, None where the process was killed; its code is `code` then."""
        try:
            return self._answer.recv() if self._answer.poll(timeout_s) else None
        except EOFError:
            return None
        finally:
            self.process.join(10)
            if self.process.is_alive():
                self.process.kill()
                self.process.join(10)

    @property
    def code(self) -> int | None:
        """Its exit code; -9 after SIGKILL."""
        return self.process.exitcode


def _call(send: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    send.send(work(*arguments))
    send.close()


def train(
    folder: Path,
    breakage: Breakage,
    changes: dict[str, Any],
    before: Callable[[], None] | None = None,
    limits: Limits | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The trial, a checkpoint after every epoch: its last result, and the steps it took.

    `before` changes the process as a test wants it.
    """
    trainable.CHECKPOINT_S = 0.0
    trainable.HEARTBEAT_S = float("inf")
    patience.LOOK_EVERY_S = 0.1
    (folder / "events").mkdir(parents=True, exist_ok=True)
    steps = Steps(folder, breakage)
    steps.install()
    if before is not None:
        before()
    result = trainable.run_job(tiny_job(folder, **changes), limits or Limits())
    return result, steps.names


def tiny_job(folder: Path = Path("nowhere"), task: str = "point-mass", **changes: Any) -> Job:
    """The smallest real trial."""
    return job(task, folder, **RUN | changes)


def run(folder: Path, breakage: Breakage | None = None, **changes: Any) -> dict[str, Any]:
    """The trial from where it is to its end, in a process of its own."""
    result, _ = Child(train, folder, breakage or Nothing(), changes).end()
    return result


def compacted(folder: Path, breakage: Breakage) -> list[str]:
    """Compact; the steps that took."""
    steps = Steps(folder, breakage)
    steps.install()
    compact(folder)
    return steps.names


def learned(folder: Path) -> dict[str, list[dict[str, object]]]:
    """What the trial reported and how it was evaluated; each row once, or this fails."""
    tables: Tables = read_tables(folder)
    found = {kind: science(getattr(tables, kind)) for kind in ("reports", "evals")}
    for rows in found.values():
        keys = [(row["epoch"], row.get("task")) for row in rows]
        assert len(keys) == len(set(keys))
    return found


def left_over(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return [str(path) for path in folder.rglob("*") if path.name.endswith(".tmp")]
