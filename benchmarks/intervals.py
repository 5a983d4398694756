"""How often the intervals and verdicts of `analysis` are right, by simulation.

    python -m benchmarks.intervals [--reps 4000]

coverage: of nominal 95 % for every method at 3, 5, 10 and 20 seeds, where scores are normal,
lognormal, or collapse in one of five runs; over tasks with spreads as different as those of real
ones. verdicts: how often a sweep without any difference names a winner, by seeds and by tasks x
candidates (Holm). independent: the largest difference from scipy. Writes
benchmarks/results/intervals.json.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats as scipy_stats

from analysis import stats, strata
from analysis.compare import add_verdicts
from analysis.strata import Strata
from benchmarks.record import provenance, write

SEEDS = (3, 5, 10, 20)
#: A bootstrap inside a simulation: fewer draws blur its ends by less than the simulation does.
DRAWS = 1_000
Sample = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

#: Name: how scores are drawn, and what their mean and IQM are (of a million draws where no formula
#: gives them).
SHAPES: dict[str, Sample] = {
    "normal": lambda rng, size: rng.normal(0.7, 0.1, size),
    "lognormal": lambda rng, size: rng.lognormal(-0.5, 0.5, size),
    "one in five collapses": lambda rng, size: np.where(
        rng.random(size) < 0.2, rng.normal(0.1, 0.03, size), rng.normal(0.8, 0.05, size)
    ),
}
#: Spreads of the tasks of a set, as shares of their mean: from steady to erratic.
TASK_SD = (0.02, 0.05, 0.1, 0.2, 0.3)


def covered(lo: float, hi: float, truth: float) -> bool:
    """Whether an interval holds the truth."""
    return bool(lo <= truth <= hi)


def one_task(shape: Sample, n: int, reps: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of the intervals of one arm on one task."""
    many = shape(rng, (1_000_000,))
    truth = {"mean": float(many.mean()), "iqm": float(stats.iqm(many))}
    hits = {"mean, t": 0, "IQM, scaled bootstrap": 0}
    for x in shape(rng, (reps, n)):
        t = stats.mean_interval(x)
        hits["mean, t"] += covered(t.lo, t.hi, truth["mean"])
        boot = stats.bootstrap_iqm(x, reps=DRAWS, seed=int(rng.integers(1 << 31)))
        hits["IQM, scaled bootstrap"] += covered(boot.lo, boot.hi, truth["iqm"])
    return {name: count / reps for name, count in hits.items()}


def two_arms(shape: Sample, n: int, reps: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of differences whose truth is 0, and of the chance of improvement, whose is 1/2."""
    hits = {"difference, Welch": 0, "difference, paired": 0, "chance of improvement": 0}
    for x, y in zip(shape(rng, (reps, n)), shape(rng, (reps, n)), strict=True):
        for name, test in (("Welch", stats.welch_difference), ("paired", stats.paired_difference)):
            found = test(x, y)
            hits[f"difference, {name}"] += covered(found.lo, found.hi, 0.0)
        chance = strata.improvement(Strata((x[:, None],)), Strata((y[:, None],)))
        hits["chance of improvement"] += covered(chance.lo, chance.hi, 0.5)
    return {name: count / reps for name, count in hits.items()}


def many_tasks(tasks: int, n: int, reps: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage of the aggregates over tasks of different height and spread."""
    heights = np.linspace(0.2, 1.0, tasks)
    spreads = np.array([TASK_SD[i % len(TASK_SD)] for i in range(tasks)]) * heights

    def draw(seeds: int) -> Strata:
        return Strata(
            tuple(rng.normal(h, s, (seeds, 1)) for h, s in zip(heights, spreads, strict=True))
        )

    big = draw(100_000)
    truth = {name: float(f(big.matrices)) for name, f in strata.STATISTICS.items()}
    # The IQM of few runs is not that of many: its own mean is what an interval should hold.
    few = [float(strata.STATISTICS["iqm"](draw(n).matrices)) for _ in range(20_000)]
    truth["iqm"] = float(np.mean(few))
    hits = dict.fromkeys(truth, 0)
    for _ in range(reps):
        sample = draw(n)
        for name in truth:
            seed = int(rng.integers(1 << 31))
            found = strata.estimate(sample, name, reps=DRAWS, seed=seed)
            hits[name] += covered(found.lo, found.hi, truth[name])
    return {name: count / reps for name, count in hits.items()}


def false_winners(family: int, n: int, reps: int, rng: np.random.Generator) -> dict[str, float]:
    """How often at least one of `family` comparisons without a difference is a win or a loss."""
    found = {"win or lose": 0.0, "tie": 0.0}
    for _ in range(reps):
        rows: list[dict[str, Any]] = []
        for _ in range(family):
            x, y = rng.normal(0.7, 0.07, (2, n))
            result = stats.welch_difference(x, y)
            rows.append({**result.__dict__, "margin": max(0.05 * y.mean(), 0.01)})
        add_verdicts(rows, paired=False, corrected=True)
        verdicts = [row["verdict"] for row in rows]
        found["win or lose"] += any(v in ("win", "lose") for v in verdicts)
        found["tie"] += verdicts.count("tie") / family
    return {name: count / reps for name, count in found.items()}


def against_scipy(reps: int, rng: np.random.Generator) -> dict[str, float]:
    """The largest difference from scipy over random samples."""
    names = ("t interval", "Welch interval", "Welch p", "IQM", "Wilson")
    worst: dict[str, float] = dict.fromkeys(names, 0.0)
    for _ in range(reps):
        n, m = rng.integers(3, 12, 2)
        x, y = rng.normal(size=n), rng.normal(size=m)
        t = scipy_stats.ttest_1samp(x, 0).confidence_interval(0.95)
        ours = stats.mean_interval(x)
        _worse(worst, "t interval", ours.lo - t.low, ours.hi - t.high)
        test = scipy_stats.ttest_ind(x, y, equal_var=False)
        bounds = test.confidence_interval(0.95)
        welch = stats.welch_difference(x, y)
        _worse(worst, "Welch interval", welch.lo - bounds.low, welch.hi - bounds.high)
        _worse(worst, "Welch p", welch.p_value - float(np.asarray(test)[1]))
        _worse(worst, "IQM", float(stats.iqm(x)) - scipy_stats.trim_mean(x, 0.25))
        k = int(rng.integers(0, n + 1))
        wilson = scipy_stats.binomtest(k, int(n)).proportion_ci(0.95, method="wilson")
        share = stats.wilson(k, int(n))
        _worse(worst, "Wilson", share.lo - wilson.low, share.hi - wilson.high)
    return worst


def _worse(worst: dict[str, float], name: str, *differences: float) -> None:
    worst[name] = max(worst[name], *(abs(float(x)) for x in differences))


def bootstrap_seconds(rng: np.random.Generator) -> float:
    """The best of three intervals of an IQM."""
    sample = Strata(tuple(rng.normal(0.7, 0.1, (10, 1)) for _ in range(30)))
    times = []
    for _ in range(3):
        began = time.perf_counter()
        strata.estimate(sample, "iqm")
        times.append(time.perf_counter() - began)
    return round(min(times), 3)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reps", type=int, default=4_000)
    reps = parser.parse_args().reps
    provenance()
    rng = np.random.default_rng(0)
    coverage = [
        {"scores": name, "n": n} | one_task(shape, n, reps, rng) | two_arms(shape, n, reps, rng)
        for (name, shape), n in itertools.product(SHAPES.items(), SEEDS)
    ]
    aggregates = [
        {"tasks": tasks, "n": n} | many_tasks(tasks, n, reps // 4, rng)
        for tasks, n in itertools.product((3, 10, 30), SEEDS[:3])
    ]
    verdicts = [
        {"comparisons": family, "n": n} | false_winners(family, n, reps, rng)
        for family, n in itertools.product((1, 3, 12), SEEDS[:3])
    ]
    for row in (*coverage, *aggregates, *verdicts):
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
    figures = {
        "reps": reps,
        "coverage": coverage,
        "aggregates": aggregates,
        "verdicts": verdicts,
        "against_scipy": against_scipy(500, rng),
        "seconds_of_10000_draws_of_30_tasks_x_10_seeds": bootstrap_seconds(rng),
    }
    print(write("intervals", figures))


if __name__ == "__main__":
    main()
