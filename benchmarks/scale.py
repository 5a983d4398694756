"""What ten thousand trials ask of the driver, of the disk and of whoever looks on.

    python -m benchmarks.scale [--trials 10000] [--running 1000] [--only simulated running noop]

simulated: screen, select and confirm over so many cells in simulated time; the scheduler, the
stages, the recorder and the events on disk are those of a real driver. Then what a resume of that
folder reads. running: `python -m analysis status` while so many trials run. noop: so many trials
under real Ray that write a few rows and end (`noop_sweep.py`); the driver is stopped halfway and
the sweep gone on with. Each part in a process of its own. Writes benchmarks/results/scale.json
when all parts ran.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.record import provenance, write
from sweeps.core.definition.options import Options
from sweeps.core.definition.tune import Screen, Select, Tune
from sweeps.core.driver.resume import open_run, stored_state
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.stages import enumerate_or
from sweeps.core.simulate.__main__ import SWEEP
from sweeps.core.simulate.simulated import Shape, SyntheticWorld
from sweeps.core.simulate.simulator import Cluster, Planner, SimulatedStages, Simulation
from sweeps.core.simulate.strategies import study
from sweeps.core.store.events import EventLog, event_files
from tests.sweeps.tiny import RUN, Process, latest

PARTS = ("simulated", "running", "noop")
WORKERS = 64
SELECT = Select(top=8, seeds=(100, 101, 102))
STATUS_RUNS = 3


def sweep_of(trials: int) -> Tune:
    """A screen of so many cells of a space that has them all."""
    space = {
        "world_model.integrator": ("euler", "midpoint", "heun", "rk4"),
        "world_model.substeps": tuple(range(1, 11)),
        "wm_batch_size": tuple(range(64, 64 + 8 * -(-trials // 40), 8)),
        "epochs": (15_000,),
    }
    return dataclasses.replace(
        SWEEP, name="scale", space=space, screen=Screen(trials=trials), select=SELECT
    )


def rss_mb() -> float:
    """Resident memory of this process."""
    return psutil.Process().memory_info().rss / 2**20


class Clocks:
    """Wall and CPU seconds since its beginning."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        return time.monotonic() - self._wall, time.process_time() - self._cpu


def alone(part: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What a part finds in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(part, arguments)


def drive(folder: Path, trials: int, workers: int, messages: int | None) -> dict[str, Any]:
    """A simulated sweep whose events are kept in a real folder."""
    sweep = sweep_of(trials)
    world = SyntheticWorld(sweep, Shape(), (0, 0))
    # A forecast has composed every trial before; it is not part of what the driver does then.
    planner = Planner(sweep)
    clocks = Clocks()
    for cell in list(sweep.cells())[:trials]:
        planner.plan(sweep.candidate, "screen", cell, sweep.screen.seed)
    composed = clocks.read()
    with EventLog(folder, "driver") as log:
        recorder, _ = open_run(folder, log, sweep, {})
        heard = _count_heard(recorder)
        stages = SimulatedStages(sweep, recorder, enumerate_or(study), planner)
        before, clocks = rss_mb(), Clocks()
        Simulation(stages, recorder, Cluster(world, workers)).run(messages)
        wall, cpu = clocks.read()
    planned = recorder.trials()
    size = sum(path.stat().st_size for path in event_files(folder))
    return {
        "trials": len(planned),
        "running": sum(trial.status == "RUNNING" for trial in planned),
        "results_heard": heard["n"],
        "compose_s": round(composed[0], 1),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "cpu_ms_a_trial": round(1000 * cpu / len(planned), 2),
        "results_a_second": round(heard["n"] / wall),
        "rss_before_mb": round(before),
        "rss_after_mb": round(rss_mb()),
        "mb_a_1000_results": round((rss_mb() - before) * 1000 / heard["n"], 3),
        "events_mb": round(size / 1e6, 1),
        "events_bytes_a_trial": round(size / len(planned)),
    }


def _count_heard(recorder: Recorder) -> dict[str, int]:
    count = {"n": 0}

    def listen(event: str, *_: Any) -> None:
        count["n"] += event == "progress"

    recorder.listeners.append(listen)
    return count


def read_back(folder: Path) -> dict[str, Any]:
    """What a resume reads before it can start a trial."""
    clocks = Clocks()
    state = stored_state(Options(resume=folder))
    folded = clocks.read()
    with EventLog(folder, "driver") as log:
        recorder, _ = open_run(folder, log, sweep_of(state.asked["screen"]), {})
    opened = clocks.read()
    assert len(recorder.trials()) == len(state.trials)
    return {
        "state_s": round(folded[0], 2),
        "recorder_s": round(opened[0] - folded[0], 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def status_s(folder: Path) -> list[float]:
    """Seconds of the whole command, a few times."""
    found = []
    for _ in range(STATUS_RUNS):
        began = time.monotonic()
        command = [sys.executable, "-m", "analysis", "status", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        found.append(round(time.monotonic() - began, 2))
    return found


def noop(cwd: Path, trials: int) -> dict[str, Any]:
    """Trials that do nothing, under real Ray; stopped halfway, and gone on with."""
    words = ["preset=laptop", "task=point-mass", "arms=[mlp,flow]", f"seeds={trials // 2}"]
    words = [*RUN, *words, "epochs=30", "trial.cpus=1", "--no-canary", "--yes"]
    first = _Noop(cwd, words)
    first.until(lambda: first.ended() >= trials // 2)
    stop_s = first.process.send(signal.SIGTERM)
    half = first.figures() | {"stop_s": round(stop_s, 1)}
    second = _Noop(cwd, ["--resume", str(latest(cwd, "noop_sweep"))])
    second.until(lambda: second.ended() >= trials)
    ended_s = time.monotonic() - second.began
    second.process.end(3600)
    folder = latest(cwd, "noop_sweep")
    rest = second.figures() | {"tables_and_report_s": round(second.seconds() - ended_s, 1)}
    sizes = {
        name: round(sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file()) / 1e6)
        for name in ("events", "series", "tables", "ray", "logs")
    }
    return {
        "trials": trials,
        "first_half": half,
        "second_half": rest,
        "folder_mb": sizes,
        "status_s": status_s(folder),
    }


class _Noop:
    """A driver of the sweep that does nothing."""

    def __init__(self, cwd: Path, words: list[str]) -> None:
        self._cwd = cwd
        self._read_to: dict[Path, int] = {}
        self._written = 0
        self._ended = 0
        self._known = self._events()
        self.began = time.monotonic()
        self.process = Process(cwd, *words, script="../benchmarks/noop_sweep")
        self._first_s = 0.0
        self._cpu_s = 0.0
        self._rss_mb: list[tuple[int, float]] = []
        self._ended_s = 0.0

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait and watch the driver."""
        driver = psutil.Process(self.process.popen.pid)

        def look() -> bool:
            if not self._first_s and self._events() > self._known + 4:
                self._first_s = time.monotonic() - self.began
            times = driver.cpu_times()
            self._cpu_s = times.user + times.system
            self._rss_mb.append((self.ended(), driver.memory_info().rss / 2**20))
            self._ended_s = time.monotonic() - self.began
            return condition()

        self.process.wait_for(look, 3600)

    def ended(self) -> int:
        """Trials that have ended, in any driver's time."""
        self._read_on()
        return self._ended

    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.began

    def figures(self) -> dict[str, Any]:
        """What it took."""
        (first, before), (last, after) = self._rss_mb[0], self._rss_mb[-1]
        at_first = next((mb for n, mb in self._rss_mb if n > first), before)
        return {
            "exit_code": self.process.popen.returncode,
            "trials_ended": last - first,
            "first_result_s": round(self._first_s, 1),
            "seconds_a_trial": round((self._ended_s - self._first_s) / max(last - first, 1), 4),
            "driver_cpu_s": round(self._cpu_s, 1),
            "driver_mb_at_first_result": round(at_first),
            "driver_mb": round(after),
            "driver_peak_mb": round(max(mb for _, mb in self._rss_mb)),
        }

    def _events(self) -> int:
        self._read_on()
        return self._written

    def _read_on(self) -> None:
        """Count what was written since the last look; a whole folder would take too long."""
        for file in (self._cwd / "results" / "noop_sweep").glob("*/events/driver-*.jsonl"):
            if file.parents[1].is_symlink():
                continue
            with file.open("rb") as events:
                events.seek(self._read_to.get(file, 0))
                lines = events.read().rpartition(b"\n")[0]
            self._read_to[file] = self._read_to.get(file, 0) + len(lines)
            self._written += lines.count(b'"event":"')
            self._ended += lines.count(b'"event":"completed"')


def main() -> None:
    """Measure the parts that are asked for, and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=1_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    provenance()
    found: dict[str, Any] = {}
    root = Path(tempfile.mkdtemp(prefix="fpscale"))
    try:
        if "simulated" in options.only:
            folder = root / "simulated"
            found["simulated"] = alone(drive, folder, options.trials, WORKERS, None)
            found["simulated"]["resume"] = alone(read_back, folder)
            found["simulated"]["status_s"] = status_s(folder)
        if "running" in options.only:
            folder = root / "running"
            # So many messages that every trial that runs has told of itself a few times.
            messages = 5 * options.running
            found["running"] = alone(drive, folder, 2 * options.running, options.running, messages)
            found["running"]["status_s"] = status_s(folder)
        if "noop" in options.only:
            found["noop"] = noop(root / "noop", options.trials)
        print(json.dumps(found, indent=1))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if found.keys() == set(PARTS):
        print(write("scale", {"workers": WORKERS, "cpus": os.cpu_count(), **found}))


if __name__ == "__main__":
    main()
