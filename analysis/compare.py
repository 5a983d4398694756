"""Is the candidate better than the baseline? One verdict a task, with its uncertainty.

For each task the difference of mean scores, candidate - baseline, and its 95 % t interval:

- tie: the 90 % interval lies within the margin (two one-sided tests at 5 %); the margin is the
  larger of 5 % of the baseline's mean and 1 % of the score's scale;
- win, lose: no tie, the 95 % interval excludes 0, and so does the p value after Holm's correction
  over all tasks and candidates of the table;
- undetermined: all else, with the number of seeds that would settle it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import Frames
from analysis.names import InputError, check, unknown
from analysis.scores import WINDOW, scale_of, trial_scores, usable
from analysis.verdict import ALPHA, Evidence, judge, seeds_needed

FLOOR = 0.2
SCALE_MARGIN = 0.01
PAIRINGS = ("auto", "paired", "welch")
CORRECTIONS = ("holm", "none")

COLUMNS = [
    "task",
    "candidate",
    "baseline",
    "candidate_mean",
    "baseline_mean",
    *("est", "lo", "hi", "n", "method"),
    "percent",
    *("p_value", "p_holm", "correction"),
    "margin",
    "verdict",
    "reason",
    *("seeds_needed", "seeds_for_est"),
    "not_learned",
    *("n_candidate", "n_baseline"),
    *("lo90", "hi90"),
    *("seed_corr", "p_paired", "p_welch"),
    *("iqm_est", "iqm_lo", "iqm_hi", "iqm_method"),
    *("diverged_candidate", "diverged_baseline"),
    *("missing_candidate", "missing_baseline"),
]


def compare(
    frames: Frames,
    baseline: str | None = None,
    candidates: Collection[str] | None = None,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    pair: str = "auto",
    margin: float = 0.05,
    scale: float | Mapping[str, float] | None = None,
    floor: float = FLOOR,
    correction: str = "holm",
    stage: str = "confirm",
) -> pd.DataFrame:
    """One row a (task, candidate): means, difference with interval, p values, margin, verdict.

    baseline: an arm (default: the sweep's own, else "mlp"); candidates: arms (default: all others).
    An arm with several configurations of one task is split into `<arm> <config_id>`. `score` and
    `at` are those of `trial_scores`; more is better. pair: "paired" tests differences over shared
    seeds, which holds only where the arms share state beyond the seed (a frozen world model, the
    same initial weights); "auto" does so if the sweep says `shared_state`, else "welch". Both p
    values and the seed correlation are always in the table. scale: the best possible score (by
    task). floor: arms both below this share of it have not learned the task.
    Where the stage has no trials of the sweep's own baseline yet, the table is empty.
    From 10 seeds on, `iqm_*` has the difference in IQM with a bootstrap interval beside t.

    Raises:
        InputError: an unknown arm, score, pairing, correction or stage; a baseline that is several
            configurations; pairs without a common seed.
    """
    check("pair", pair, PAIRINGS)
    check("correction", correction, CORRECTIONS)
    if margin < 0:
        raise InputError(f"margin must not be negative, got {margin}")
    scores = arm_scores(frames, score=score, at=at, window=window, stage=stage, scale=scale)
    if scores.empty:
        return pd.DataFrame(columns=COLUMNS)
    base, others = _arms(frames, scores, baseline, candidates)
    if base not in {*scores["arm"], *scores["label"]}:
        return pd.DataFrame(columns=COLUMNS)
    paired = pair == "paired" or (pair == "auto" and bool(frames.spec.get("shared_state")))
    rows: list[dict[str, Any]] = []
    for task, group in scores.groupby("task", sort=True):
        _check_single(base, group)
        top = scale_of(str(task), scale)
        b = group[(group["label"] == base) | (group["arm"] == base)]
        for label in sorted(group.loc[group["arm"].isin(others), "label"].unique()):
            c = group[group["label"] == label]
            row = _difference(c, b, paired=paired, margin=margin, top=top, floor=floor)
            rows.append({"task": task, "candidate": label, "baseline": base} | row)
    _judge(rows, paired=paired, corrected=correction == "holm")
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        {"seeds_needed": "Int64", "seeds_for_est": "Int64"}
    )


def arm_scores(
    frames: Frames,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    stage: str = "confirm",
    scale: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """`trial_scores` of one stage with `label`, the arm as it is compared, and `counts`, whether
    the trial is a result."""
    scores = trial_scores(frames, score=score, at=at, window=window, scale=scale)
    if len(scores):
        check("stage", stage, {*scores["stage"], "confirm"})
    scores = scores[scores["stage"] == stage]
    configs = scores.groupby(["task", "arm"])["config_id"].transform("nunique")
    labels = scores["arm"].where(configs <= 1, scores["arm"] + " " + scores["config_id"])
    return scores.assign(label=labels, counts=usable(scores))


def _arms(
    frames: Frames, scores: pd.DataFrame, baseline: str | None, candidates: Collection[str] | None
) -> tuple[str, list[str]]:
    arms = sorted(scores["arm"].unique())
    base = baseline or str(frames.spec.get("baseline") or "mlp")
    by_label = dict(zip(scores["label"], scores["arm"], strict=True))
    arm = base if base in arms else by_label.get(base)
    # A sweep's own baseline may not have been planned yet while the candidate is at work.
    if arm is None and base != frames.spec.get("baseline"):
        raise unknown("baseline", base, arms)
    for name in candidates or ():
        check("candidate", name, arms)
    return base, [a for a in (candidates or arms) if a != arm]


def _check_single(base: str, group: pd.DataFrame) -> None:
    labels = sorted(group.loc[group["arm"] == base, "label"].unique())
    if len(labels) > 1:
        raise InputError(
            f"baseline {base!r} is {len(labels)} configurations on {group['task'].iloc[0]}; "
            f"give one of: {', '.join(labels)}"
        )


def _difference(
    c: pd.DataFrame, b: pd.DataFrame, *, paired: bool, margin: float, top: float, floor: float
) -> dict[str, Any]:
    """All columns of a row that do not depend on the other rows."""
    known_c, known_b = c[c["counts"]], b[b["counts"]]
    xs, ys = known_c["value"].to_numpy(float), known_b["value"].to_numpy(float)
    pairs = known_c[["seed", "value"]].merge(known_b[["seed", "value"]], on="seed")
    px, py = pairs["value_x"].to_numpy(float), pairs["value_y"].to_numpy(float)
    if paired and len(xs) and len(ys) and not len(pairs):
        raise InputError(f"no seed is in both arms on {c['task'].iloc[0]}: use pair='welch'")
    by_pairs, by_welch = stats.paired_difference(px, py), stats.welch_difference(xs, ys)
    result = by_pairs if paired else by_welch
    # Paired means are over the pairs, so that their difference is the estimate.
    mean_c, mean_b = (_mean(px), _mean(py)) if paired else (_mean(xs), _mean(ys))
    alongside = {"iqm_est": math.nan, "iqm_lo": math.nan, "iqm_hi": math.nan, "iqm_method": ""}
    if result.n >= stats.MIN_SEEDS_BOOTSTRAP:
        boot = stats.bootstrap_iqm_difference(*((px, py) if paired else (xs, ys)), paired=paired)
        alongside = {f"iqm_{k}": getattr(boot, k) for k in ("est", "lo", "hi", "method")}
    low = max(mean_c, mean_b) < floor * top if result.n else False
    return {
        **dataclasses.asdict(result),
        **alongside,
        "candidate_mean": mean_c,
        "baseline_mean": mean_b,
        "percent": 100 * result.est / abs(mean_b) if mean_b else math.nan,
        "margin": max(margin * abs(mean_b), SCALE_MARGIN * top) if result.n else math.nan,
        "not_learned": bool(low),
        "n_candidate": len(xs),
        "n_baseline": len(ys),
        "seed_corr": stats.correlation(px, py),
        "p_paired": by_pairs.p_value,
        "p_welch": by_welch.p_value,
        "diverged_candidate": int(known_c["diverged"].sum()),
        "diverged_baseline": int(known_b["diverged"].sum()),
        "missing_candidate": len(c) - len(xs),
        "missing_baseline": len(b) - len(ys),
        "sd": result.sd,
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _judge(rows: list[dict[str, Any]], *, paired: bool, corrected: bool) -> None:
    """Adds p_holm, verdict, reason and seeds_needed, which depend on the whole family."""
    p_holm = stats.holm([row["p_value"] for row in rows])
    family = int(np.count_nonzero(~np.isnan(p_holm)))
    for row, p in zip(rows, p_holm, strict=True):
        evidence = Evidence(
            row["est"], row["lo"], row["hi"], row["lo90"], row["hi90"], row["margin"]
        )
        settled = judge(evidence, n=row["n"], p=float(p) if corrected else row["p_value"])
        needed = as_seen = None
        if settled.verdict == "undetermined" and row["n"] >= stats.MIN_SEEDS_INTERVAL:
            alpha = ALPHA / family if corrected else ALPHA
            needed = seeds_needed(evidence, row["sd"], row["n"], paired=paired, alpha=alpha)
            if (seen := abs(row["est"])) > row["margin"]:
                as_seen = stats.seeds_for_power(seen, row["sd"], paired=paired, alpha=alpha)
        reason = settled.reason + (f" of {family} comparisons" if settled.by_holm else "")
        row["correction"] = f"Holm over {family}" if corrected else "none"
        row.update(p_holm=p, verdict=settled.verdict, reason=reason, seeds_needed=needed)
        row["seeds_for_est"] = as_seen
