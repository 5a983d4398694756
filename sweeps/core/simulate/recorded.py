"""Trials that were trained once: the curves of an earlier sweep as a world for simulated ones."""

from __future__ import annotations

import dataclasses
import math
import statistics
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float, Int

from sweeps.core.definition.axes import Cell
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.tune import Tune
from sweeps.core.driver.resume import SPEC
from sweeps.core.protocol.grid import cell_key
from sweeps.core.protocol.plan import Plan
from sweeps.core.simulate.simulated import Run
from sweeps.core.simulate.simulator import Planner
from sweeps.core.store.compact import read_tables
from sweeps.core.store.parquet import DamagedTable
from sweeps.core.store.schema import DONE_STATUSES, SCORE_WINDOW

FEWEST_RUNS = 2  # to the end, of a configuration: one says nothing of the seeds
FEWEST_CELLS = 2


@dataclass(frozen=True, kw_only=True)
class RecordedTune(Tune):
    """A sweep whose space is the cells that were recorded."""

    recorded: frozenset[str] = frozenset()

    def affordable(self, cell: Mapping[str, Any]) -> bool:
        """Whether the cell was recorded."""
        return cell_key(cell) in self.recorded

    def to_dict(self) -> dict[str, Any]:
        """Plain values, of the cells as well."""
        return super().to_dict() | {"recorded": sorted(self.recorded)}

    def cell_count(self) -> float:
        """The number of cells that were recorded."""
        return sum(1 for _ in self.cells())


def recorded_sweep(folder: Path) -> Tune:
    """The sweep of a run folder, of either kind, as one that tunes. Raises UsageError."""
    path = folder / SPEC
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        if plain["kind"] != Tune.kind:
            shared = {field.name for field in dataclasses.fields(Tune)} & plain.keys()
            default = Tune(name="", tasks=(), presets="", arms={}, baseline="").to_dict()
            plain = default | {key: plain[key] for key in shared}
        if not plain["space"]:
            raise UsageError(
                f"{folder}: a sweep without axes; what tuned, or compared, over some is played"
            )
        return Tune.from_dict(plain)
    except OSError as error:
        raise UsageError(f"{folder}: no sweep there ({error.strerror}: {path})") from error
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        raise UsageError(f"{path} cannot be read ({cause})") from error


class Recording:
    """The runs of a folder by configuration.

    A configuration takes part with at least two runs that reached their end, or as one that fails
    if none did and one failed. Runs that were stopped early are passed over.
    """

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where the folder cannot be read."""
        try:
            tables = read_tables(folder, kinds=("trials", "evals"))
        except (OSError, DamagedTable) as error:
            raise UsageError(str(error)) from error
        means = tables.evals.group_by(["trial_id", "epoch"]).aggregate([("return_mean", "mean")])
        curves: dict[str, dict[int, float]] = {}
        for row in means.to_pylist():
            curves.setdefault(row["trial_id"], {})[row["epoch"]] = row["return_mean_mean"]
        whole: dict[str, list[Run]] = {}
        failed: dict[str, list[Run]] = {}
        for trial in sorted(tables.trials.to_pylist(), key=lambda row: row["trial_id"]):
            run = _run(trial, curves.get(trial["trial_id"], {}))
            if run is None:
                continue
            good = run.out_of_memory_at is None and np.isfinite(run.returns).all()
            (whole if good else failed).setdefault(trial["config_id"], []).append(run)
        self.whole = {key: runs for key, runs in whole.items() if len(runs) >= FEWEST_RUNS}
        self.failed = {key: runs for key, runs in failed.items() if key not in whole}

    def cover(self, sweep: Tune) -> RecordedTune:
        """The sweep over the cells that take part. Raises UsageError for too few of them."""
        if sweep.cell_count() == math.inf:
            raise UsageError("an axis with a numeric range cannot be played from recorded runs")
        planner = Planner(sweep)
        kept = [
            (cell_key(cell), config)
            for cell in sweep.cells()
            if (config := _config_of(planner, sweep, cell)) in self.whole or config in self.failed
        ]
        if sum(config in self.whole for _, config in kept) < FEWEST_CELLS:
            raise UsageError(
                f"{len(kept)} of {sweep.cell_count():.0f} configurations can be played: "
                f"at least {FEWEST_CELLS} need {FEWEST_RUNS} recorded runs to their end"
            )
        fields = {field.name: getattr(sweep, field.name) for field in dataclasses.fields(Tune)}
        return RecordedTune(**fields, recorded=frozenset(key for key, _ in kept))


class RecordedWorld:
    """Every trial plays a recorded run of its configuration; which one, the seeds decide.

    The truth is the mean over a configuration's runs. Seeds take different runs as long as there
    are any, so with few runs the truth is partly what was seen, and optimism is understated.
    """

    def __init__(self, sweep: RecordedTune, recording: Recording, seed: tuple[int, ...]) -> None:
        self._recording = recording
        self._seed = seed
        seeds = [sweep.screen.seed, *sweep.select.seeds, *sweep.confirm.seeds]
        self._turns = {seed: turn for turn, seed in enumerate(seeds)}
        planner = Planner(sweep)
        configs = [_config_of(planner, sweep, cell) for cell in sweep.cells()]
        scores = [[_score(run) for run in recording.whole.get(key, [])] for key in configs]
        scores = [each for each in scores if each]
        means = [statistics.fmean(each) for each in scores]
        self.runs_a_cell = statistics.fmean(map(len, scores))
        self.middle = statistics.fmean(means)
        of_seeds = statistics.fmean(statistics.variance(each) for each in scores)
        between = statistics.variance(means) - of_seeds / self.runs_a_cell
        # Without an effect of the configurations there is no unit but the scatter of their means.
        self.sd = math.sqrt(between if between > 0 else statistics.variance(means)) or 1.0
        self.rho = math.sqrt(of_seeds) / self.sd

    def run(self, plan: Plan) -> Run:
        """One of the recorded runs."""
        runs = self._of(plan)
        key = zlib.crc32(plan.config_id.encode())
        order = np.random.default_rng((*self._seed, key)).permutation(len(runs))
        seed = plan.config.seed
        return runs[order[self._turns.get(seed, seed) % len(runs)]]

    def truth(self, plan: Plan) -> float:
        """The mean score of the configuration's runs, NaN if none came to its end."""
        runs = self._recording.whole.get(plan.config_id)
        return statistics.fmean(map(_score, runs)) if runs else math.nan

    def _of(self, plan: Plan) -> list[Run]:
        known = self._recording.whole | self._recording.failed
        # A baseline that was not recorded at the winner's settings only takes time: any run does.
        return known.get(plan.config_id) or next(iter(self._recording.whole.values()))


def _config_of(planner: Planner, sweep: Tune, cell: Cell) -> str:
    return planner.plan(sweep.candidate, "screen", cell, sweep.screen.seed).config_id


def _run(trial: Mapping[str, Any], curve: Mapping[int, float]) -> Run | None:
    """A run that came to its end, or that failed by itself; None for any other."""
    done = (trial["epochs_done"] or 0) / trial["epochs"] if trial["epochs"] else 0.0
    epochs: Int[np.ndarray, " E"] = np.array(sorted(curve), dtype=np.int64)
    returns: Float[np.ndarray, " E"] = np.array([curve[epoch] for epoch in sorted(curve)])
    cause = trial["failure_class"] or ""
    if trial["status"] in DONE_STATUSES and len(epochs):
        return Run(epochs, returns, (trial["wall_time_s"] or 0.0) / 3600)
    if trial["status"] != "FAILED" or not done or not (cause == "diverged" or "oom" in cause):
        return None
    hours = (trial["wall_time_s"] or 0.0) / 3600 / done
    before = epochs < trial["epochs_done"]
    broken = sorted({trial["epochs_done"], trial["epochs"]})
    epochs = np.append(epochs[before], broken)
    returns = np.append(returns[before], [math.nan] * len(broken))
    return Run(epochs, returns, hours, None if cause == "diverged" else done)


def _score(run: Run) -> float:
    return float(run.returns[-SCORE_WINDOW:].mean())
