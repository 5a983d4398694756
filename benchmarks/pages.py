"""What reports and figures take, of four kinds of sweep.

    python -m benchmarks.pages [--pictures FOLDER]

A tuned sweep of 34 trials on one task, a comparison on three tasks, one trial, failures alone, and
a thousand trials: seconds and bytes of the report, seconds of the interactive page, seconds to
`import analysis`. With `--pictures` every panel of every figure is kept as PNG, and so are the
pages. Writes benchmarks/results/pages.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import analysis
from analysis.figures import FIGURES, View
from analysis.overall import overall
from benchmarks.record import provenance, write
from tests.analysis.conftest import PHASE3, SweepFolder, build_tuned

IMPORTS = 5


def tuned(path: Path) -> SweepFolder:
    """Twelve screened configurations, two selected, ten test seeds of both arms."""
    return build_tuned(SweepFolder(path, spec={"baseline": "mlp", "kind": "tune"}))


def compared(path: Path) -> SweepFolder:
    """Three tasks, two arms, three seeds, with curves."""
    sweep = SweepFolder(path, spec={"baseline": "mlp", "kind": "compare"})
    rng = np.random.default_rng(0)
    for task, arms in PHASE3.items():
        for arm, finals in arms.items():
            for seed, final in enumerate(finals):
                rise = 1 - np.exp(-np.arange(1, 31) / 6)
                curve = final * rise + rng.normal(0, 0.02 * final, 30)
                sweep.trial(arm, seed, curve, task=task, gpus=1.0)
    return sweep


def single(path: Path) -> SweepFolder:
    """One trial."""
    sweep = SweepFolder(path)
    sweep.trial("flow", 1000, np.linspace(0, 900, 30))
    return sweep


def failed(path: Path) -> SweepFolder:
    """Nothing but failures."""
    sweep = SweepFolder(path)
    for seed in range(6):
        curve = [10.0 * seed] * seed
        failure = ("oom_host", "killed at 128 GB") if seed % 2 else ("error", "no such file")
        sweep.trial("flow", seed, curve, status="failed", stage="screen", failure=failure)
    return sweep


def thousand(path: Path) -> SweepFolder:
    """A thousand screened configurations, and test seeds of both arms."""
    sweep = SweepFolder(path, spec={"baseline": "mlp", "kind": "tune"})
    rng = np.random.default_rng(0)
    for number in range(1000):
        substeps, integrator = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["euler", "heun"]))
        rate = float(10 ** rng.uniform(-5, -2))
        params = {
            "world_model.substeps": substeps,
            "world_model.integrator": integrator,
            "optim.wm_lr": rate,
        }
        top = 500 + 100 * np.log2(substeps) - 80 * abs(np.log10(rate) + 3.2) + rng.normal(0, 40)
        curve = top * (1 - np.exp(-np.arange(1, 21) / 6)) + rng.normal(0, 15, 20)
        stopped = number % 2 == 1
        sweep.trial(
            "flow",
            0,
            curve[:8] if stopped else curve,
            stage="screen",
            status="stopped" if stopped else "completed",
            config_id=f"c{number:08x}",
            params=params,
            epochs=200,
            gpus=1.0,
        )
    for seed in range(1000, 1010):
        for arm, top in (("mlp", 700.0), ("flow", 820.0)):
            rise = 1 - np.exp(-np.arange(1, 21) / 6)
            sweep.trial(arm, seed, top * rise + rng.normal(0, 20, 20), gpus=1.0)
    return sweep


SWEEPS: dict[str, Callable[[Path], SweepFolder]] = {
    "tuned": tuned,
    "compared": compared,
    "single": single,
    "failed": failed,
    "thousand": thousand,
}


def seconds_of(call: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.monotonic()
    call()
    return round(time.monotonic() - began, 2)


def measure(frames: analysis.Frames, folder: Path) -> dict[str, Any]:
    """Both pages of a sweep; the first report of a process pays for fonts, so it is made twice."""
    report = folder / "report.html"
    analysis.report(frames, report)
    figures: dict[str, Any] = {
        "trials": len(frames.trials),
        "report_s": seconds_of(lambda: analysis.report(frames, report)),
        "report_bytes": report.stat().st_size,
    }
    if len(frames.evals):
        page = folder / "interactive.html"
        figures["interactive_s"] = seconds_of(lambda: analysis.interactive(frames, page))
        figures["interactive_bytes"] = page.stat().st_size
    return figures


def draw(frames: analysis.Frames, folder: Path) -> None:
    """Every panel of every figure, as PNG."""
    view = View(frames, analysis.compare(frames), together=overall(frames))
    for name, entry in FIGURES.items():
        for number, panel in enumerate(entry.panels(view)):
            entry.draw(view, panel).savefig(folder / f"{name}-{number}.png", dpi=110)


def import_seconds() -> float:
    """The median of a new Python that imports the package, less one that imports nothing."""

    def spent(code: str) -> float:
        command = [sys.executable, "-c", code]
        return statistics.median(
            seconds_of(lambda: subprocess.run(command, check=True)) for _ in range(IMPORTS)
        )

    return round(spent("import analysis") - spent("pass"), 2)


def main() -> None:
    """Every kind of sweep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="keep pictures and pages in this folder")
    options = parser.parse_args()
    provenance()
    figures: dict[str, Any] = {"import_analysis_s": import_seconds()}
    with tempfile.TemporaryDirectory(prefix="fppages") as temp:
        for name, make in SWEEPS.items():
            frames = analysis.load(make(Path(temp) / "results" / name / "run").finish())
            folder = (options.pictures or Path(temp) / "pages") / name
            folder.mkdir(parents=True, exist_ok=True)
            figures[name] = measure(frames, folder)
            print(name, figures[name], flush=True)
            if options.pictures is not None:
                draw(frames, folder)
    print(write("pages", figures))


if __name__ == "__main__":
    main()
