"""All tasks of a sweep together: one difference a candidate, in shares of the best possible score.

Every task weighs the same. Trials of one task are a stratum of independent seeds; a trial that
trained on several tasks is one value, the mean over them, since its tasks share their luck.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import in_order
from analysis.compare import (
    FLOOR,
    add_verdicts,
    arm_scores,
    choose_arms,
    compare,
    is_paired,
)
from analysis.frames import Frames
from analysis.load import reads
from analysis.scores import WINDOW, known_scale
from analysis.standings import ALONE, is_alone
from analysis.verdict import headlines, overall_sentence
from sweeps.core.reference.margins import MEAN_MARGIN, margin_of

OVERALL = [
    *("cell", "candidate", "baseline", "tasks", "candidate_mean", "baseline_mean"),
    *("est", "lo", "hi", "n", "method", "p_value", "p_holm", "correction"),
    *("margin", "verdict", "reason", "seeds_needed", "seeds_for_est", "not_learned"),
    *("lo90", "hi90"),
]


@reads
def overall(
    frames: Frames,
    baseline: str | None = None,
    candidates: Collection[str] | None = None,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    pair: str = "auto",
    margin: float = MEAN_MARGIN,
    scale: float | Mapping[str, float] | None = None,
    stage: str = "confirm",
) -> pd.DataFrame:
    """One row a (cell, candidate) over all tasks; empty for a sweep of one task.

    Scores are divided by `scale_of` their task. The margin is the larger of `margin` times the
    baseline's mean and 1 % of the scale. Only tasks count on which both arms have a result; `tasks`
    is their number, and the reason names those that are missing. The arguments are `compare`'s.

    Raises:
        InputError: as `compare`.
    """
    scores = arm_scores(frames, score=score, at=at, window=window, stage=stage, scale=scale)
    if scores.empty or scores["task"].nunique() < 2:
        return pd.DataFrame(columns=OVERALL)
    base, others = choose_arms(frames, scores, baseline, candidates)
    tasks = scores["task"].unique()
    scales = scores["task"].map({task: known_scale(str(task), scale, score) for task in tasks})
    scores = scores.assign(share=scores["value"] / scales)
    paired = is_paired(frames, pair)
    rows: list[dict[str, Any]] = []
    for cell in sorted(scores["axes"].unique(), key=in_order):
        group = scores[scores["axes"] == cell]
        b = group[(group["label"] == base) | (group["arm"] == base)]
        for label in sorted(group.loc[group["arm"].isin(others), "label"].unique()):
            row = _difference(group[group["label"] == label], b, paired=paired, margin=margin)
            rows.append({"cell": cell, "candidate": label, "baseline": base} | row)
    add_verdicts(rows, paired=paired, corrected=True)
    for row in rows:
        if row["missing"]:
            row["reason"] += f"; without {', '.join(row['missing'])}"
    return pd.DataFrame(rows, columns=OVERALL).astype(
        {"seeds_needed": "Int64", "seeds_for_est": "Int64"}
    )


@reads
def conclusions(
    frames: Frames,
    baseline: str | None = None,
    candidates: Collection[str] | None = None,
    **options: Any,
) -> list[str]:
    """What the sweep says in sentences: one a candidate, then one over all tasks. `options` are
    those of `overall`. Of a sweep with one arm: that nothing is compared. Raises InputError as
    `compare`."""
    if is_alone(frames):
        return [ALONE]
    table = compare(frames, baseline, candidates, **options)
    together = overall(frames, baseline, candidates, **options)
    return [*headlines(table), *(overall_sentence(row) for _, row in together.iterrows())]


def _difference(c: pd.DataFrame, b: pd.DataFrame, *, paired: bool, margin: float) -> dict[str, Any]:
    tasks = {*c["task"], *b["task"]}
    c, b = c[c["counts"]], b[b["counts"]]
    known = {*c["task"]} & {*b["task"]}
    strata, weights = [], []
    for run in sorted({*c["run_task"]} & {*b["run_task"]}):
        ours, theirs = (_by_seed(arm[arm["run_task"] == run], known) for arm in (c, b))
        if paired:
            ours, theirs = ours.align(theirs, join="inner")
        if len(ours) and len(theirs):
            strata.append((ours.to_numpy(float), theirs.to_numpy(float)))
            weights.append(c.loc[c["run_task"] == run, "task"].nunique())
    shares = np.asarray(weights, float) / max(sum(weights), 1)
    if not strata:
        shares, strata = np.ones(1), [(np.empty(0), np.empty(0))]
    result = stats.stratified_difference(strata, shares, paired=paired)
    mean_c, mean_b = (
        float(sum(w * arms[i].mean() for w, arms in zip(shares, strata, strict=True)))
        if result.n
        else math.nan
        for i in (0, 1)
    )
    return {
        **dataclasses.asdict(result),
        "tasks": sum(weights),
        "candidate_mean": mean_c,
        "baseline_mean": mean_b,
        "margin": margin_of(mean_b, 1.0, margin) if result.n else math.nan,
        "not_learned": bool(result.n and max(mean_c, mean_b) < FLOOR),
        "missing": sorted(tasks - known),
        "sd": result.sd,
    }


def _by_seed(rows: pd.DataFrame, tasks: Collection[str]) -> pd.Series:
    """Mean share over the tasks, by seed, of the trials that have a result on each of them."""
    rows = rows[rows["task"].isin(tasks)]
    trials = rows.groupby("seed")["share"].agg(["mean", "size"])
    return trials.loc[trials["size"] == rows["task"].nunique(), "mean"]
