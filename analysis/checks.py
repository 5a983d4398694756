"""What a reader must know before believing a comparison: one plain sentence each."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import stats
from analysis.cells import place
from analysis.compare import arm_scores
from analysis.extensions import looks
from analysis.frames import Frames
from analysis.importing.logs import contradictions
from analysis.scores import DONE, WINDOW, points, smoothed, trains_offline, trial_scores, usable
from analysis.verdict import number
from sweeps.core.reference.published import published_range

FEW_SEEDS = 5
SAME_BUDGET = 0.01
STILL_IMPROVING = 0.05


def warnings_of(
    frames: Frames,
    comparison: pd.DataFrame,
    *,
    score: str = "return_mean",
    window: int = WINDOW,
    scale: float | Mapping[str, float] | None = None,
) -> list[str]:
    """Everything that weakens the result, gravest first; empty if nothing does."""
    scores = arm_scores(frames, score=score, window=window, scale=scale)
    return [
        *looks(frames),
        *_imported(frames),
        *_published(frames, scores),
        *_not_learned(comparison),
        *_failed(frames),
        *_missing(scores),
        *_few_seeds(comparison),
        *_diverged(scores),
        *_collapsed(scores),
        *_budgets(scores),
        *_protocols(frames),
        *_still_improving(frames, scores[["trial_id", "task", "place", "label"]], score, window),
        *_winners_curse(frames, score, window, scale),
    ]


def _imported(frames: Frames) -> list[str]:
    if not frames.spec.get("imported"):
        return []
    lines = contradictions(frames)
    text = (
        "Imported from logs: nobody kept seeds apart for testing, and returns of single tasks are "
    )
    return [f"{text}those of training episodes.", *(f"Contradiction: {line}." for line in lines)]


def _published(frames: Frames, scores: pd.DataFrame) -> list[str]:
    """A baseline far from what was published for it at about this budget."""
    base = str(frames.spec.get("baseline") or "mlp")
    rows = scores[scores["counts"] & (scores["arm"] == base)]
    lines = []
    for (task, label), group in rows.groupby(["task", "label"], sort=True):
        steps = round(float(group["env_steps"].mean()))
        known = published_range(str(task), online=not trains_offline(frames), env_steps=steps)
        mean = float(group["value"].mean())
        if known is None or not known.outside(mean):
            continue
        lines.append(
            f"Outside of what is published: {label} reached {number(mean)} on {task} "
            f"(n={len(group)}), published are {known}; {known.doubt(mean)}"
        )
    return lines


def _not_learned(comparison: pd.DataFrame) -> list[str]:
    return [
        f"Not learned: on {place(row['task'], row['cell'])} both {row['candidate']} "
        f"({number(row['candidate_mean'])}) and {row['baseline']} "
        f"({number(row['baseline_mean'])}) are far below what the task allows; the difference says "
        "little about what they can do."
        for row in comparison[comparison["not_learned"].astype(bool)].to_dict("records")
    ]


def _failed(frames: Frames) -> list[str]:
    failed = frames.trials[frames.trials["status"] == "FAILED"]
    if failed.empty:
        return []
    kinds = failed["failure_class"].fillna("error").value_counts()
    shown = ", ".join(f"{kind} {n}" for kind, n in kinds.items())
    return [f"Failed: {len(failed)} of {len(frames.trials)} trials ({shown}); see Failures."]


def _missing(scores: pd.DataFrame) -> list[str]:
    lines = []
    for (where, label), group in scores.groupby(["place", "label"]):
        left_out = group[~group["counts"]]
        if len(left_out):
            seeds = ", ".join(map(str, sorted(left_out["seed"])))
            states = ", ".join(sorted(left_out["status"].str.lower().unique()))
            lines.append(
                f"Missing: {len(left_out)} of {len(group)} seeds of {label} on {where} are not in "
                f"the result ({states}; seeds {seeds})."
            )
    return lines


def _few_seeds(comparison: pd.DataFrame) -> list[str]:
    few = comparison[comparison["n"] < FEW_SEEDS]
    if few.empty:
        return []
    least = int(few["n"].min())
    if least < stats.MIN_SEEDS_INTERVAL:
        return [f"Few seeds: n={least} gives no uncertainty at all; nothing can be concluded."]
    return [
        f"Few seeds: with n={least} only large differences can be seen; 10 is the usual number."
    ]


def _diverged(scores: pd.DataFrame) -> list[str]:
    lines = []
    for (where, label), group in scores.groupby(["place", "label"]):
        if k := int(group["diverged"].sum()):
            lines.append(
                f"Diverged: {k} of {len(group)} seeds of {label} on {where}; each counts as a "
                "return of 0."
            )
    return lines


def _collapsed(scores: pd.DataFrame) -> list[str]:
    lines = []
    for (where, label), group in scores[scores["counts"]].groupby(["place", "label"]):
        k, n = int(group["collapsed"].sum()), len(group)
        if k:
            share = stats.wilson(k, n)
            lines.append(
                f"Collapsed: {k} of {n} seeds of {label} on {where} ended below half of their peak "
                f"(share {share.lo:.0%} to {share.hi:.0%}, 95% Wilson); its mean mixes two kinds "
                "of runs."
            )
    return lines


def _budgets(scores: pd.DataFrame) -> list[str]:
    lines = []
    done = scores[scores["status"].isin(DONE)]
    offline = not (done["env_steps"] > 0).any()
    unit = "epochs" if offline else "environment steps"
    for where, group in done.groupby("place"):
        steps = group.groupby("label")["epochs_done" if offline else "env_steps"].mean()
        if len(steps) > 1 and steps.max() > steps.min() * (1 + SAME_BUDGET):
            shown = ", ".join(f"{label} {int(n):,}" for label, n in steps.items())
            lines.append(
                f"Unequal budgets on {where}: {shown} {unit} per seed; use "
                f"at={int(steps.min())} to compare at the smaller one."
            )
    return lines


def _protocols(frames: Frames) -> list[str]:
    confirmed = frames.trials.loc[frames.trials["stage"] == "confirm", "trial_id"]
    evals = frames.evals[frames.evals["trial_id"].isin(confirmed)]
    mixed = evals.groupby("task")["protocol"].nunique()
    return [
        f"Unequal evaluation on {task}: {n} protocols (episodes or episode seeds) are mixed."
        for task, n in mixed[mixed > 1].items()
    ]


def _still_improving(frames: Frames, labels: pd.DataFrame, score: str, window: int) -> list[str]:
    """Arms whose smoothed curve clearly rose over the last fifth of the budget."""
    rows = points(frames, score)
    rows = rows[(rows["stage"] == "confirm") & rows["status"].isin(DONE)]
    found = []
    rows = rows.merge(labels, on=["trial_id", "task"])
    for (where, label), group in rows.groupby(["place", "label"]):
        gains, ends = [], []
        for _, trial in group.groupby("trial_id"):
            if len(trial) < 2 * window:
                continue  # the smoothed curve would still hold the start of the run
            smooth = smoothed(trial["value"].to_numpy(float), window)
            steps = trial["progress"].to_numpy(float)
            before = smooth[np.searchsorted(steps, 0.8 * steps[-1], side="right") - 1]
            gains.append(smooth[-1] - before)
            ends.append(abs(smooth[-1]))
        gain = stats.mean_interval(gains)
        if not math.isnan(gain.lo) and gain.lo > 0 and gain.est > STILL_IMPROVING * np.mean(ends):
            found.append(f"{label} on {where} by {number(gain.est)} (n={gain.n})")
    if not found:
        return []
    return [
        f"Still improving in the last fifth of the budget: {', '.join(found)}; a longer run may "
        "change the verdict."
    ]


def _winners_curse(
    frames: Frames, score: str, window: int, scale: float | Mapping[str, float] | None
) -> list[str]:
    """How far the best screening score of each arm fell when it was measured afresh."""
    scores = trial_scores(frames, score=score, window=window, scale=scale)
    screened = scores[(scores["stage"] == "screen") & usable(scores)]
    confirmed = scores[(scores["stage"] == "confirm") & usable(scores)]
    lines = []
    for (task, arm), group in screened.groupby(["task", "arm"]):
        fresh = confirmed[(confirmed["task"] == task) & (confirmed["arm"] == arm)]
        if len(group) < 2:
            continue
        best = group.sort_values("value").iloc[-1]
        text = (
            f"Winner's curse: the best of {len(group)} screened configurations of {arm} on {task} "
            f"scored {number(best['value'])}, the highest of many noisy numbers"
        )
        if len(fresh):
            text += f"; on fresh seeds {arm} scores {number(float(fresh['value'].mean()))}"
        lines.append(text + ". Screening scores are biased upwards and are no result.")
    return lines
