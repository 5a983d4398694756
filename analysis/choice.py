"""Choosing: which configurations earned more seeds, and how many seeds a difference needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Any

import pandas as pd

from analysis import sample_size, stats
from analysis.cells import by_config
from analysis.compare import arm_scores
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check
from analysis.scores import RETURNS, WINDOW, known_scale
from sweeps.core.reference.shrinkage import shrunk

STAGES = ("select", "screen")
#: IQM from here on, the mean below (as the sweep itself ranks).
IQM_FROM = 4
_SELECTED = [
    *("rank", "arm", "config_id", "at", "est", "lo", "hi", "n", "method"),
    *("mean", "stopped", "promoted", "why"),
]


@reads
def select(
    frames: Frames,
    *,
    k: int = 3,
    stage: str | None = None,
    score: str = "return_mean",
    window: int = WINDOW,
) -> pd.DataFrame:
    """Configurations of a stage ranked by their shrunk score, with the k best `promoted`.

    est is the score (over several tasks: in shares of the best possible one) drawn towards the mean
    of all configurations the more, the fewer and noisier its seeds are; mean is what was measured
    (an IQM from 4 seeds on), lo and hi its t interval. Configurations that the scheduler stopped
    stand below, by how far they came; failed ones are left out. stage: "select" or "screen"
    (default: the later that has a result). All of these numbers are biased upwards at the top.

    Raises:
        InputError: unknown score or stage, k below 1.
    """
    if not isinstance(k, int) or k < 1:
        raise InputError(f"k must be at least 1, a whole number, got {k}")
    if score not in (*RETURNS, "success"):
        raise InputError(f"select ranks by what more is better of, and {score!r} may not be that")
    stage = stage or _latest(frames)
    check("stage", stage, STAGES)
    if len(frames.trials) and stage not in set(frames.trials["stage"]):
        raise InputError(f"the sweep has no {stage} stage: nothing was chosen from it")
    scores = arm_scores(frames, stage=stage, score=score, window=window)
    one = scores["task"].nunique() < 2
    share = [
        value if one else value / known_scale(task, None, score)
        for task, value in zip(scores["task"], scores["value"], strict=True)
    ]
    scores = scores.assign(share=share)
    whole, stopped = scores[scores["counts"]], scores[scores["status"] == "STOPPED"]
    by_seed = whole.groupby(["config_id", "seed"], sort=True)["share"].mean()
    values = {str(key): list(group) for key, group in by_seed.groupby("config_id", sort=True)}
    late = stopped[~stopped["config_id"].isin(list(values))]
    at = by_config(frames)
    arms = dict(zip(scores["config_id"], scores["arm"], strict=True))

    def about(key: str) -> dict[str, Any]:
        return {"arm": arms[key], "config_id": key, "at": at[key]}

    means = shrunk(values)
    rows: list[dict[str, Any]] = [
        about(key) | _row(values[key], means[key], stopped[stopped["config_id"] == key])
        for key in sorted(means, key=lambda key: (-means[key], key))
    ]
    rows += [about(str(key)) | _stopped(group) for key, group in _furthest_first(late)]
    for rank, row in enumerate(rows, start=1):
        row["rank"], row["promoted"] = rank, rank <= k
        row["why"] = _why(row, rank, k)
    return pd.DataFrame(rows, columns=_SELECTED)


def power(
    sd: float | Collection[float],
    *,
    effect: float | Collection[float],
    n: int | Collection[int] | None = None,
    paired: bool = False,
    alpha: float = 0.05,
    target: float = 0.8,
) -> pd.DataFrame:
    """What seeds can show: a row for each (sd, effect, n) with the power of the t test; without n a
    row for each (sd, effect) with the fewest seeds an arm that reach `target`.

    sd: of the scores of an arm, or (paired) of the differences; in the unit of `effect`. Columns:
    sd, effect, n, power, detectable (the effect that n seeds find with `target`), method.

    Raises:
        InputError: a number that is not positive, or n below 3.
    """
    sds, effects = _list(sd), _list(effect)
    for name, numbers in (("sd", sds), ("effect", effects), ("alpha", [alpha])):
        if any(not (math.isfinite(x) and x > 0) for x in numbers):
            raise InputError(f"{name} must be above 0, got {numbers}")
    seeds = None if n is None else [int(x) for x in _list(n)]
    if seeds is not None and min(seeds, default=3) < stats.MIN_SEEDS_INTERVAL:
        raise InputError(f"n must be at least {stats.MIN_SEEDS_INTERVAL} seeds, got {min(seeds)}")
    rows = []
    for spread, size in itertools.product(sds, effects):
        needed = seeds or [
            sample_size.seeds_for_power(size, spread, paired=paired, target=target, alpha=alpha)
        ]
        for count in needed:
            found = sample_size.power(size, spread, count, paired=paired, alpha=alpha)
            least = sample_size.detectable(spread, count, paired=paired, target=target, alpha=alpha)
            rows.append((spread, size, count, found, least, "paired t" if paired else "Welch t"))
    return pd.DataFrame(rows, columns=["sd", "effect", "n", "power", "detectable", "method"])


def _latest(frames: Frames) -> str:
    done = frames.trials[frames.trials["score"].notna()]
    return "select" if (done["stage"] == "select").any() else "screen"


def _row(values: list[float], est: float, stopped: pd.DataFrame) -> dict[str, Any]:
    interval = stats.mean_interval(values)
    mean = float(stats.iqm(values)) if len(values) >= IQM_FROM else interval.est
    return {
        "est": est,
        "lo": interval.lo,
        "hi": interval.hi,
        "n": len(values),
        "method": "shrunk; interval of the mean, t" if interval.n >= 3 else interval.method,
        "mean": mean,
        "stopped": len(stopped),
    }


def _furthest_first(stopped: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    groups = list(stopped.groupby("config_id", sort=True))

    def reached(pair: tuple[Any, pd.DataFrame]) -> tuple[float, ...]:
        most = pair[1][["env_steps", "epochs_done", "share"]].max()
        return tuple(-float(x) for x in most)

    return sorted(groups, key=reached)


def _stopped(group: pd.DataFrame) -> dict[str, Any]:
    nan = math.nan
    bounds = {"est": nan, "lo": nan, "hi": nan, "n": 0, "method": "stopped: no whole run"}
    return bounds | {"mean": nan, "stopped": len(group)}


def _why(row: dict[str, Any], rank: int, k: int) -> str:
    if not row["n"]:
        return "stopped by the scheduler before its budget"
    if rank > k:
        return f"rank {rank} of which {k} go on"
    drawn = row["mean"] - row["est"]
    if row["n"] and abs(drawn) > 0.005 * abs(row["mean"]):
        return f"among the {k} best, though drawn by {-drawn:+.3g} towards the mean of all"
    return f"among the {k} best"


def _list(x: float | Collection[float]) -> list[float]:
    return [float(x)] if isinstance(x, (int, float)) else [float(value) for value in x]
