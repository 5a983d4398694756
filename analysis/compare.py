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
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import sample_size, stats
from analysis.cells import in_order, place, placed
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check, unknown
from analysis.scores import WINDOW, known_scale, trial_scores, usable
from analysis.verdict import ALPHA, Evidence, judge, seeds_needed
from sweeps.core.reference.margins import MEAN_MARGIN, margin_of

FLOOR = 0.2
PAIRINGS = ("auto", "paired", "welch")
CORRECTIONS = ("holm", "none")

COLUMNS = [
    "task",
    "cell",
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


@reads
def compare(
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
    floor: float = FLOOR,
    correction: str = "holm",
    stage: str = "confirm",
) -> pd.DataFrame:
    """One row a (task, cell, candidate): means, difference, interval, p values, margin, verdict.

    baseline: an arm (default: the sweep's own, else "mlp"); candidates: arms (default: all others).
    cell: the values of the axes that the baseline has too, "" where there are none. An arm with
    several configurations there is split by its own axes, or into `<arm> <config_id>`. `score` and
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
    if not 0 <= margin < math.inf:
        raise InputError(f"margin must be a share of at least 0, got {margin}")
    scores = arm_scores(frames, score=score, at=at, window=window, stage=stage, scale=scale)
    if scores.empty:
        return pd.DataFrame(columns=COLUMNS)
    base, others = choose_arms(frames, scores, baseline, candidates)
    if base not in {*scores["arm"], *scores["label"]}:
        return pd.DataFrame(columns=COLUMNS)
    paired = is_paired(frames, pair)
    rows: list[dict[str, Any]] = []
    for (task, cell), group in in_cells(scores):
        _check_single(base, group)
        top = known_scale(task, scale, score)
        b = group[(group["label"] == base) | (group["arm"] == base)]
        for label in sorted(group.loc[group["arm"].isin(others), "label"].unique()):
            c = group[group["label"] == label]
            row = _difference(c, b, paired=paired, margin=margin, top=top, floor=floor)
            rows.append({"task": task, "cell": cell, "candidate": label, "baseline": base} | row)
    add_verdicts(rows, paired=paired, corrected=correction == "holm")
    return pd.DataFrame(rows, columns=COLUMNS).astype(
        {"seeds_needed": "Int64", "seeds_for_est": "Int64"}
    )


def is_paired(frames: Frames, pair: str) -> bool:
    """Whether differences over shared seeds are tested; "auto": if the arms share more still."""
    return pair == "paired" or (pair == "auto" and bool(frames.spec.get("shared_state")))


def arm_scores(
    frames: Frames,
    *,
    score: str = "return_mean",
    at: str | float = "final",
    window: int = WINDOW,
    stage: str = "confirm",
    scale: float | Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """`trial_scores` of one stage with `cell`, `place` (task and cell), `label` (the arm as it is
    compared there) and `counts` (whether the trial is a result)."""
    scores = trial_scores(frames, score=score, at=at, window=window, scale=scale)
    if len(scores):
        check("stage", stage, {*scores["stage"], "confirm"})
    scores = scores[scores["stage"] == stage]
    return labels(frames, scores).assign(counts=usable(scores).to_numpy())


def labels(frames: Frames, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with trial_id, task, arm and config_id, and with these as well: `axes` (values at axes
    that the baseline has too), `cell` (these, and the run where a task is in several kinds of
    runs), `place` (task and cell), `label` (the arm, and what tells its configurations apart)."""
    rows = rows.merge(placed(frames), on="trial_id", how="left")
    run = rows["trial_id"].map(frames.trials.set_index("trial_id")["task"])
    several = run.groupby(rows["task"]).transform("nunique") > 1
    cells = ("run=" + run.astype(str)).where(several, "") + " " + rows["axes"]
    rows = rows.assign(cell=cells.str.strip())
    places = [place(*key) for key in zip(rows["task"], rows["cell"], strict=True)]
    arms = rows.groupby(["task", "cell", "arm"])
    configs = arms["config_id"].transform("nunique")
    # Its own axes name a configuration, unless they leave some of them without a name.
    told_apart = (arms["own"].transform("nunique") == configs) & (rows["own"] != "")
    names = rows["own"].where(told_apart, rows["config_id"])
    label = rows["arm"].where(configs <= 1, rows["arm"] + " " + names)
    return rows.assign(place=places, label=label)


def in_cells(scores: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of `arm_scores` by (task, cell), in the order of names and of numbers in them."""
    groups = scores.groupby(["task", "cell"], sort=False)
    found = {(str(task), str(cell)): group for (task, cell), group in groups}
    for key in sorted(found, key=lambda key: (key[0], in_order(key[1]))):
        yield key, found[key]


def choose_arms(
    frames: Frames, scores: pd.DataFrame, baseline: str | None, candidates: Collection[str] | None
) -> tuple[str, list[str]]:
    """The baseline and the arms compared with it. Raises InputError for an unknown one."""
    arms = sorted(scores["arm"].unique())
    base = baseline or str(frames.spec.get("baseline") or "mlp")
    by_label = dict(zip(scores["label"], scores["arm"], strict=True))
    arm = base if base in arms else by_label.get(base)
    # A sweep's own baseline may not have been planned yet while the candidate is at work.
    if arm is None and base != frames.spec.get("baseline"):
        raise unknown("baseline", base, arms)
    candidates = [candidates] if isinstance(candidates, str) else candidates
    for name in candidates or ():
        check("candidate", name, arms)
        if name in (base, arm):
            raise InputError(f"{name!r} is the baseline and cannot be its own candidate")
    return base, [a for a in (candidates or arms) if a != arm]


def _check_single(base: str, group: pd.DataFrame) -> None:
    labels = sorted(group.loc[group["arm"] == base, "label"].unique())
    if len(labels) > 1:
        raise InputError(
            f"baseline {base!r} is {len(labels)} configurations on {group['place'].iloc[0]}; "
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
    if paired and (known_c["seed"].duplicated().any() or known_b["seed"].duplicated().any()):
        raise InputError(f"a seed ran twice on {c['task'].iloc[0]}: use pair='welch'")
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
        "margin": margin_of(mean_b, top, margin) if result.n else math.nan,
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


def add_verdicts(rows: list[dict[str, Any]], *, paired: bool, corrected: bool) -> None:
    """Adds p_holm, verdict, reason and seeds_needed to the rows, which are one family of tests."""
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
                as_seen = sample_size.seeds_for_power(seen, row["sd"], paired=paired, alpha=alpha)
        reason = settled.reason + (f" of {family} comparisons" if settled.by_holm else "")
        row["correction"] = f"Holm over {family}" if corrected and family else "none"
        row.update(p_holm=p, verdict=settled.verdict, reason=reason, seeds_needed=needed)
        row["seeds_for_est"] = as_seen
