"""A sweep beside a bare loop over the same trainings: what the platform costs.

    python -m benchmarks.sweep_overhead [--seeds 4] [--epochs 290] [--rounds 2] [--only reports]

trainings: MLP and flow on cartpole-swingup, one to a CPU at a time, each about a minute long. The
bare loop is a pool of processes that exhaust `train` and keep nothing; the sweep writes rows,
events and checkpoints and ends with its tables and report. Both in turns, forth and back. CPU
seconds are those of the whole machine: leave it alone meanwhile. reports: two trials that do
nothing but report. Writes benchmarks/results/sweep_overhead.json.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.record import provenance, write
from flowpwm.compose import from_dict
from flowpwm.config import to_dict
from flowpwm.state import TrainState
from flowpwm.train import train
from sweeps.core.definition.command import parse
from sweeps.core.definition.compare import Compare
from sweeps.core.host import machine
from sweeps.core.protocol.plan import make_plan
from sweeps.core.store.events import read_events
from sweeps.single_task import SWEEP
from tests.sweeps.tiny import RUN, Process, latest

PARTS = ("trainings", "reports")
TASK = "cartpole-swingup"
REPORTS = 3_000  # of each of two trials
WITHIN_S = 3600.0


def words(seeds: int, epochs: int) -> list[str]:
    """The sweep of the trainings."""
    asked = ["preset=laptop", f"task={TASK}", "arms=[mlp,flow]", f"seeds={seeds}"]
    return [*asked, f"epochs={epochs}", "trial.cpus=1", "--no-canary", "--yes"]


def train_barely(plain: dict[str, Any]) -> tuple[float, float]:
    """One training that keeps nothing: when it began and ended."""
    began = time.time()
    torch.set_num_threads(1)
    state = TrainState.start(from_dict(plain))
    for _ in train(state):
        pass
    state.close()
    return began, time.time()


class Meter:
    """Wall seconds, and CPU seconds of the whole machine."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), self._busy()

    def read(self) -> dict[str, float]:
        """Since its beginning."""
        wall, cpu = time.monotonic() - self._wall, self._busy() - self._cpu
        return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}

    @staticmethod
    def _busy() -> float:
        times = psutil.cpu_times()
        return times.user + times.system + times.nice


def bare(sweep: Compare) -> dict[str, float]:
    """Every training of the sweep, in a pool of processes."""
    plans = [
        to_dict(make_plan(sweep, arm, "confirm", {"task": TASK}, seed).config)
        for seed in sweep.confirm.seeds
        for arm in sweep.arms
    ]
    meter = Meter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(machine.usable_cpus(), mp_context=context) as pool:
        times = list(pool.map(train_barely, plans))
    took = [ended - began for began, ended in times]
    span = max(ended for _, ended in times) - min(began for began, _ in times)
    return meter.read() | {"span_s": round(span, 2), "trial_s": round(statistics.fmean(took), 2)}


def platform(cwd: Path, seeds: int, epochs: int) -> dict[str, float]:
    """The sweep as a user starts it."""
    meter, began = Meter(), time.time()
    process = Process(cwd, *words(seeds, epochs), script="single_task")
    if process.end(WITHIN_S):
        raise SystemExit(process.text)
    found = meter.read()
    events = read_events(latest(cwd, "single_task"))
    when = {name: _times(events, name) for name in ("started", "progress", "completed")}
    span = when["completed"][-1] - when["started"][0]
    took = _by_trial(events, "completed", max), _by_trial(events, "started", min)
    each = statistics.fmean(took[0][trial] - took[1][trial] for trial in took[0])
    return found | {
        "span_s": round(span, 2),
        "trial_s": round(each, 2),
        "start_to_first_trial_s": round(when["started"][0] - began, 2),
        "start_to_first_report_s": round(when["progress"][0] - began, 2),
        "end_of_trials_to_exit_s": round(began + found["wall_s"] - when["completed"][-1], 2),
    }


def _times(events: list[dict[str, Any]], name: str) -> list[float]:
    return sorted(_when(event) for event in events if event["event"] == name)


def _by_trial(events: list[dict[str, Any]], name: str, which: Any) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for event in events:
        if event["event"] == name:
            found.setdefault(event["trial_id"], []).append(_when(event))
    return {trial: which(times) for trial, times in found.items()}


def _when(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def trainings(root: Path, seeds: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Both in turns."""
    sweep, _ = parse(SWEEP, words(seeds, epochs)[:-2])
    found: dict[str, list[dict[str, float]]] = {"bare": [], "sweep": []}
    for number in range(rounds):
        turn = ["bare", "sweep"] if number % 2 == 0 else ["sweep", "bare"]
        for name in turn:
            ran = bare(sweep) if name == "bare" else platform(root / str(number), seeds, epochs)
            found[name].append(ran)
            print(name, ran, flush=True)
    sums = {
        name: {key: sum(run[key] for run in runs) for key in ("wall_s", "cpu_s", "span_s")}
        for name, runs in found.items()
    }
    ratios = {key: round(sums["sweep"][key] / sums["bare"][key], 4) for key in sums["bare"]}
    return {"trials": 2 * seeds, "epochs": epochs, "runs": found, "sweep_to_bare": ratios}


def reports(cwd: Path) -> dict[str, Any]:
    """How many results a second the driver takes, and what it keeps of them in memory."""
    asked = ["preset=laptop", "task=point-mass", "arms=[mlp,flow]", "seeds=1", "trial.cpus=1"]
    words = [*RUN, *asked, f"epochs={2 * REPORTS}", "--no-canary", "--yes"]
    process = Process(cwd, *words, script="../benchmarks/noop_sweep", NOOP_EVALUATIONS=str(REPORTS))
    driver = psutil.Process(process.popen.pid)
    memory: list[tuple[int, float]] = []
    while process.popen.poll() is None:
        files = (cwd / "results" / "noop_sweep").glob("[0-9]*/events/driver-*.jsonl")
        heard = sum(file.read_bytes().count(b'"event":"progress"') for file in files)
        memory.append((heard, driver.memory_info().rss / 2**20))
        time.sleep(0.5)
    if process.popen.returncode:
        raise SystemExit(process.text)
    events = read_events(latest(cwd, "noop_sweep"))
    progress = _times(events, "progress")
    at_work = [mb for n, mb in memory if 0 < n < 2 * REPORTS]
    return {
        "reports": len(progress),
        "a_second": round(len(progress) / (progress[-1] - progress[0])),
        "driver_mb_a_1000": round((at_work[-1] - at_work[0]) * 1000 / len(progress), 2),
        "driver_peak_mb": round(max(mb for _, mb in memory)),
    }


def main() -> None:
    """Measure, print and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=290)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    provenance()
    found: dict[str, Any] = {"cpus": os.cpu_count()}
    root = Path(tempfile.mkdtemp(prefix="fpover"))
    try:
        if "trainings" in options.only:
            ran = trainings(root, options.seeds, options.epochs, options.rounds)
            found["trainings"] = ran
            print(ran["sweep_to_bare"])
        if "reports" in options.only:
            found["reports"] = reports(root / "reports")
            print(found["reports"])
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(write("sweep_overhead", found))


if __name__ == "__main__":
    main()
