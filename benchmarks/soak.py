"""A sweep of small real trials under faults that come at random, beside the same one without any.

    python -m benchmarks.soak [--minutes 20] [--trials 40] [--nodes 4] [--seed 7]

On a Ray cluster of nodes with a CPU each, all on this machine; with `--nodes 0` as a sweep runs by
itself. Workers are killed every 10 s on average, a node every 60 s (and a new one joins), and the
driver every 120 s (to be started again with --resume); every 90 s the newest checkpoint of a trial
is cut and its worker killed; every 180 s the disk is full for 10 s, a tmpfs: without root that is
left out. Counts rows expected, found and
repeated, wall time against the run without faults, processes that are left, and what the driver's
memory grows by per 1,000 reports. Writes benchmarks/results/soak.json; exits with 1 where a row is
missing, a table has one twice or a process is left.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.record import provenance, write
from sweeps.core.host import machine
from sweeps.core.store.compact import read_tables
from sweeps.core.store.schema import ExitCode
from tests.sweeps.chaos import Rows, attempts, cut_checkpoint, running_workers
from tests.sweeps.faults.disks import fill, make_room, mounted
from tests.sweeps.nodes import Nodes, running_nodes
from tests.sweeps.tiny import RUN, Process, alive, latest, state_of

SCRIPT = "single_task"
#: Mean seconds between two faults of a kind.
PERIODS = {"worker": 10.0, "node": 60.0, "cut": 90.0, "driver": 120.0, "full": 180.0}
FULL_S = 10.0
EPOCHS_PER_CPU_S = 27.0  # of these trials beside a busy machine's other work
LEAST_EPOCHS = 40
LAST_WORDS = 3_000  # characters of what a driver said that did not end well


def words(trials: int, epochs: int) -> list[str]:
    """A comparison of two arms on seeds enough for all trials."""
    seeds = f"seeds={trials // 2}"
    arms = ["preset=laptop", "task=point-mass", "arms=[mlp,flow]", seeds, f"epochs={epochs}"]
    return [*RUN, *arms, "--no-canary", "--yes"]


@dataclass
class Sweep:
    """One sweep, in as many driver processes as it takes; `watch` is called while it runs."""

    cwd: Path
    ray: Path  # of Ray's sessions: short, for the names of sockets
    trials: int
    epochs: int
    nodes: Nodes | None
    memory: list[tuple[int, int]] = field(
        default_factory=list
    )  # reports heard, bytes of the driver
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    codes: list[int] = field(default_factory=list)
    wall_s: float = 0.0

    def run(self, watch: Callable[[Process], None], within_s: float) -> None:
        """To its end, or until it has taken too long."""
        began = time.monotonic()
        command = words(self.trials, self.epochs)
        extra = {"RAY_TMPDIR": str(self.ray)}
        at: list[str] = []
        if self.nodes is not None:
            extra, at = self.nodes.environment, ["--address", self.nodes.address]
        while not self.codes or self.codes[-1] not in (ExitCode.OK, ExitCode.FAILED_TRIALS):
            process = Process(self.cwd, *command, *at, script=SCRIPT, **extra)
            while process.popen.poll() is None:
                if time.monotonic() - began > within_s:
                    process.kill()
                    raise TimeoutError(f"not finished after {within_s:.0f} s:\n{process.text}")
                self._look(process)
                watch(process)
                time.sleep(0.5)
            self.codes.append(process.popen.returncode)
            if self.codes[-1] > ExitCode.OK:  # why, before its folder is gone
                print(f"driver {len(self.codes)}: exit code {self.codes[-1]}", flush=True)
                print(process.text[-LAST_WORDS:], flush=True)
            if self.started:
                command = ["--resume", str(self.folder)]
        self.wall_s = time.monotonic() - began

    @property
    def started(self) -> bool:
        """Whether there is a run folder."""
        return (self.cwd / "results" / SCRIPT / "latest").exists()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return latest(self.cwd, SCRIPT)

    def _look(self, process: Process) -> None:
        try:
            driver = psutil.Process(process.popen.pid)
            for member in (driver, *driver.children(recursive=True)):
                self.seen[member.pid] = member
            if self.started:
                for pid in running_workers(self.folder).values():
                    self.seen.setdefault(pid, psutil.Process(pid))
                events = (self.folder / "events").glob("driver-*.jsonl")
                heard = sum(file.read_bytes().count(b'"event":"progress"') for file in events)
                self.memory.append((heard, driver.memory_info().rss))
        except (psutil.Error, OSError):
            return

    def left(self) -> int:
        """Processes that still run ten seconds after its end, but a node's that wait for work."""
        return sum("ray::IDLE" not in p.cmdline() for p in alive(list(self.seen.values())))

    def driver_mb_per_1000(self) -> float | None:
        """The slope of the driver's memory over the reports it heard, after a tenth of them."""
        samples = np.array(self.memory, float)
        samples = samples[samples[:, 0] > samples[:, 0].max() / 10] if len(samples) else samples
        if len(samples) < 10:
            return None
        return float(np.polyfit(samples[:, 0], samples[:, 1], 1)[0] * 1000 / 2**20)


class Chaos:
    """Faults at random times, each kind a Poisson process of its own."""

    def __init__(self, sweep: Sweep, disk: Path | None, seed: int) -> None:
        self._sweep = sweep
        self._disk = disk
        self._random = np.random.default_rng(seed)
        able = {"full": disk is not None, "node": sweep.nodes is not None}
        kinds = [kind for kind in PERIODS if able.get(kind, True)]
        self._due = {kind: time.monotonic() + self._wait(kind) for kind in kinds}
        self._full_until = 0.0
        self.done: Counter[str] = Counter()

    def __call__(self, process: Process) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._full_until and now >= self._full_until:
            assert self._disk is not None
            make_room(self._disk)
            self._full_until = 0.0
        for kind, due in self._due.items():
            if now >= due and self._sweep.started and self._hurt(kind, process):
                self.done[kind] += 1
                self._due[kind] = now + self._wait(kind)

    def _wait(self, kind: str) -> float:
        return float(self._random.exponential(PERIODS[kind]))

    def _hurt(self, kind: str, process: Process) -> bool:
        """Whether there was something to hurt."""
        if kind == "full":
            assert self._disk is not None
            fill(self._disk)
            self._full_until = time.monotonic() + FULL_S
            return True
        if kind == "node":
            nodes = self._sweep.nodes
            assert nodes is not None
            # Itself, and no process else: what it ran finds that out.
            lost = self._random.choice(np.arange(len(nodes.cluster.worker_nodes)))
            node = sorted(nodes.cluster.worker_nodes, key=lambda n: n.node_id)[lost]
            nodes.kill_raylet(node)
            nodes.cluster.worker_nodes.remove(node)
            nodes.add()
            return True
        workers = running_workers(self._sweep.folder)
        if not workers:
            return False
        if kind == "driver":
            process.popen.kill()
            return True
        trial = str(self._random.choice(sorted(workers)))
        if kind == "cut" and not cut_checkpoint(self._sweep.folder, trial):
            return False
        try:
            psutil.Process(workers[trial]).kill()
        except psutil.NoSuchProcess:
            return False
        return True


def outcome(sweep: Sweep) -> dict[str, Any]:
    """What came of a sweep."""
    rows, tables = Rows(sweep.folder), read_tables(sweep.folder)
    keys = list(
        zip(
            tables.reports["trial_id"].to_pylist(), tables.reports["epoch"].to_pylist(), strict=True
        )
    )
    trials = state_of(sweep.folder).trials.values()
    statuses = Counter(trial.status for trial in trials)
    failures = [
        f"{trial.trial_id}: {trial.failures[-1].failure_class}: {trial.failures[-1].message}"
        for trial in trials
        if trial.status == "FAILED"
    ]
    return {
        "wall_s": round(sweep.wall_s, 1),
        "drivers": len(sweep.codes),
        "exit_codes": sweep.codes,
        "trials": dict(statuses),
        "failures": failures,
        "attempts": attempts(sweep.folder),
        "rows_expected": sweep.trials * (sweep.epochs // 2),  # a report every second epoch
        "rows_found": rows.found,
        "rows_repeated": rows.repeated,
        "rows_twice_in_tables": len(keys) - len(set(keys)),
        "temporary_files_left": sum(p.name.endswith(".tmp") for p in sweep.folder.rglob("*")),
        "processes_left": sweep.left(),
        "driver_mb_per_1000_reports": sweep.driver_mb_per_1000(),
        "driver_peak_mb": round(max((used for _, used in sweep.memory), default=0) / 2**20, 1),
    }


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Nodes | None]:
    """So many nodes with a CPU each; None for none."""
    if not nodes:
        yield None
        return
    with pytest.MonkeyPatch.context() as patch, running_nodes(patch) as found:
        for _ in range(nodes):
            found.add()
        yield found


def main() -> int:
    """Run without faults, then with them; write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of the run without faults")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=4, help="of one CPU each; 0: no cluster")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    provenance()
    seconds, cpus = 60 * options.minutes, machine.usable_cpus()
    epochs = 2 * max(
        LEAST_EPOCHS // 2, round(seconds * cpus * EPOCHS_PER_CPU_S / options.trials / 2)
    )
    root = Path(tempfile.mkdtemp(prefix="fpsoak"))
    try:
        with mounted(root / "disk", "1g") as disk:
            place = disk or root
            with cluster(options.nodes) as nodes:
                calm = Sweep(place / "calm", root / "r", options.trials, epochs, nodes)
                calm.run(lambda process: None, 20 * seconds)
                without = outcome(calm)
            with cluster(options.nodes) as nodes:
                hurt = Sweep(place / "hurt", root / "r", options.trials, epochs, nodes)
                chaos = Chaos(hurt, disk, options.seed)
                hurt.run(chaos, 40 * seconds)
                under = outcome(hurt)
            figures = {
                "minutes": options.minutes,
                "seed": options.seed,
                "trials": options.trials,
                "nodes": options.nodes,
                "epochs": epochs,
                "mean_seconds_between_faults": PERIODS,
                "faults": dict(chaos.done),
                "disk_faults": disk is not None,
                "without_faults": without,
                "with_faults": under,
                "wall_ratio": round(hurt.wall_s / calm.wall_s, 2),
            }
    finally:
        shutil.rmtree(root, ignore_errors=True)
    path = write("soak", figures)
    print(path.read_text(encoding="utf-8"))
    after = figures["with_faults"]
    whole = after["rows_found"] == after["rows_expected"] and not after["rows_twice_in_tables"]
    return 0 if whole and not after["processes_left"] else 1


if __name__ == "__main__":
    sys.exit(main())
