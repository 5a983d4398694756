"""What the tables cost: bytes a row, and seconds and memory to compact and to read them.

    python -m benchmarks.storage [--trials 1000] [--rows 5000]

A sweep of so many trials with so many reports each (5 million rows of 35 columns by default), made
of the arrows files that trials write. Every reading in a process of its own, after the file was
read once. Writes benchmarks/results/storage.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import provenance, write
from sweeps.core.store.compact import compact
from sweeps.core.store.events import EventLog
from sweeps.core.store.series import SeriesWriter

COLUMNS = 35
FIXED = 4  # trial_id, attempt, epoch, env_steps
EVALUATIONS = 50
THREE = ("loss/a00", "loss/a01", "time/wall_s")


def make(folder: Path, trials: int, rows: int) -> None:
    """A finished sweep, its events and series."""
    rng = np.random.default_rng(0)
    names = [f"loss/a{i:02d}" for i in range(COLUMNS - FIXED - 1)]
    curve = np.cumsum(rng.normal(0, 0.01, (rows, len(names))), axis=0).astype(np.float32)
    events = EventLog(folder, "driver")
    events.append("sweep_started", spec={"name": "storage", "baseline": "mlp"})
    for number in range(trials):
        name = f"c{number // 10:07d}-s{number % 10}"
        about = {"arm": ("mlp", "flow")[number % 2], "stage": "confirm", "task": "cheetah-run"}
        about |= {"config_id": f"c{number // 10:07d}", "seed": number % 10, "params": {}}
        events.append("planned", name, config={"epochs": rows}, resources={}, **about)
        events.append("started", name, attempt=1)
        shifted = curve + np.float32(rng.normal())
        with SeriesWriter(folder, name, 1, max_rows=rows) as series:
            for epoch in range(1, rows + 1):
                at = {"epoch": epoch, "env_steps": 2048 * epoch, "time/wall_s": 0.1 * epoch}
                series.report(at | dict(zip(names, shifted[epoch - 1].tolist(), strict=True)))
                if epoch % max(1, rows // EVALUATIONS) == 0:
                    told = {"epoch": epoch, "env_steps": 2048 * epoch, "wall_time_s": 0.1 * epoch}
                    told |= {"task": "cheetah-run", "n": 10, "return_mean": float(epoch)}
                    series.evaluation(told)
        events.append("completed", name, attempt=1, epoch=rows, env_steps=2048 * rows, score=1.0)
    events.append("sweep_finished", exit_code=0)
    events.close()


def _three(folder: Path) -> int:
    import analysis

    return len(analysis.load(folder, columns=THREE).reports)


def _everything(folder: Path) -> int:
    import analysis

    return len(analysis.load(folder).reports)


def _summary(folder: Path) -> int:
    import analysis

    return len(analysis.summarize(analysis.load(folder, columns=[])))


def _one_trial(folder: Path) -> int:
    import analysis

    return len(analysis.load(folder, trials=["c0000000-s0"]).reports)


def _compact(folder: Path) -> int:
    return compact(folder).files["reports"].rows


READINGS: dict[str, Callable[[Path], int]] = {
    "three_columns": _three,
    "everything": _everything,
    "summary": _summary,
    "one_trial": _one_trial,
}


def measure(reading: Callable[[Path], int], folder: Path) -> dict[str, float]:
    """Seconds after the imports, and the peak of the process above them."""
    import analysis  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    rows = reading(folder)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "peak_mb": round(peak / 1024),
        "above_imports_mb": round((peak - before) / 1024),
    }


def alone(reading: Callable[[Path], int], folder: Path) -> dict[str, float]:
    """`measure` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (reading, folder))


def main() -> None:
    """Make the sweep, compact it, read it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    provenance()
    root = Path(tempfile.mkdtemp(prefix="fpstore"))
    folder = root / "results" / "storage" / "run"
    try:
        began = time.monotonic()
        make(folder, options.trials, options.rows)
        rows = options.trials * options.rows
        figures: dict[str, Any] = {"trials": options.trials, "rows": rows, "columns": COLUMNS}
        figures["write_us_a_row"] = round((time.monotonic() - began) / rows * 1e6, 1)
        figures["compact"] = alone(_compact, folder)
        size = sum(path.stat().st_size for path in (folder / "tables").glob("reports-*.parquet"))
        figures["bytes_a_row"] = round(size / rows, 1)
        for name, reading in READINGS.items():
            reading_twice = [alone(reading, folder) for _ in range(2)]
            figures[name] = reading_twice[-1]
        print(json.dumps(figures, indent=1))
        print(write("storage", figures))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
