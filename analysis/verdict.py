"""The rule that turns intervals into win, lose, tie or undetermined, and its words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from analysis import sample_size, stats
from analysis.cells import place

ALPHA = 0.05
MANY = 12  # more rows of one candidate are counted, not listed
VERDICTS = ("win", "lose", "tie", "undetermined")
_OPENINGS = {
    "win": "{candidate} is better than {baseline} {where}",
    "lose": "{candidate} is worse than {baseline} {where}",
    "tie": "{candidate} ties with {baseline} {where}",
    "undetermined": "Undetermined whether {candidate} is better than {baseline} {where}",
}
_WORDS = {"win": "better", "lose": "worse", "tie": "a tie", "undetermined": "undetermined"}


@dataclass(frozen=True)
class Evidence:
    """A difference, its 95 % and 90 % intervals and the margin within which it does not matter."""

    est: float
    lo: float
    hi: float
    lo90: float
    hi90: float
    margin: float


@dataclass(frozen=True)
class Settled:
    """by_holm: only the correction for several comparisons stands in the way of a verdict."""

    verdict: str
    reason: str
    by_holm: bool = False


def judge(evidence: Evidence, *, n: int, p: float) -> Settled:
    """The verdict on one difference; `p` is its p value, corrected if there are several."""
    if n < stats.MIN_SEEDS_INTERVAL:
        return Settled("undetermined", stats.no_interval(n))
    if -evidence.margin < evidence.lo90 and evidence.hi90 < evidence.margin:
        return Settled("tie", f"90% interval within \N{PLUS-MINUS SIGN}{number(evidence.margin)}")
    if not (evidence.lo > 0 or evidence.hi < 0):
        wide = f"90% interval leaves \N{PLUS-MINUS SIGN}{number(evidence.margin)}"
        return Settled("undetermined", f"95% interval includes 0, {wide}")
    if p > ALPHA:
        reason = f"95% interval excludes 0, but not after Holm (p={p:.2g})"
        return Settled("undetermined", reason, by_holm=True)
    return Settled("win" if evidence.est > 0 else "lose", "95% interval excludes 0")


def seeds_needed(
    evidence: Evidence, sd: float, n: int, *, paired: bool, alpha: float = ALPHA
) -> int:
    """Seeds an arm that would find a true difference as large as the margin in 8 of 10 sweeps.

    Where there are that many already, the true difference is smaller than the margin; then the
    seeds at which the verdict falls if estimate and spread stay as they are.
    """
    wanted = sample_size.seeds_for_power(evidence.margin, sd, paired=paired, alpha=alpha)
    if wanted > n:
        return wanted
    return sample_size.seeds_to_decide(
        evidence.est, sd, evidence.margin, n, paired=paired, alpha=alpha
    )


def number(x: float, *, sign: bool = False) -> str:
    """A score with as many digits as help to compare it; a true minus sign."""
    if pd.isna(x):
        return "\N{EN DASH}"
    size = abs(x)
    digits = 0 if size >= 1e4 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{x:+,.{digits}f}" if sign else f"{x:,.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(lo: float, hi: float, *, sign: bool = True) -> str:
    """`[lo, hi]`, or nothing where there is none."""
    if math.isnan(lo) or math.isnan(hi):
        return ""
    return f"[{number(lo, sign=sign)}, {number(hi, sign=sign)}]"


def sentence(row: pd.Series) -> str:
    """One row of `compare` in plain words, with n, interval and method."""
    text = _evidence(row, f"on {_place(row)}")
    if row["not_learned"]:
        text += "; neither has learned the task"
    return text + "."


def overall_sentence(row: pd.Series) -> str:
    """One row of `overall` in plain words."""
    where = f"over {row['tasks']} tasks" + (f" at {row['cell']}" if row["cell"] else "")
    text = f"{_evidence(row, where)}; in shares of the best possible score"
    return text + ("; neither has learned them." if row["not_learned"] else ".")


def _evidence(row: pd.Series, where: str) -> str:
    text = _OPENINGS[row["verdict"]].format(where=where, **row[["candidate", "baseline"]]) + ": "
    if row["n"] == 0:
        return text + "no finished seed in both arms"
    seeds = "seed" if row["n"] == 1 else "seeds"
    text += f"{number(row['est'], sign=True)} ({number(row['candidate_mean'])} against "
    text += f"{number(row['baseline_mean'])}"
    if row["n"] < stats.MIN_SEEDS_INTERVAL:
        return text + f"; {row['method']})"
    text += f"; 95% interval {interval(row['lo'], row['hi'])}, n={row['n']} {seeds}, "
    text += f"{row['method']}"
    if not math.isnan(row.get("iqm_est", math.nan)):
        text += f"; IQM {number(row['iqm_est'], sign=True)}"
        text += f" {interval(row['iqm_lo'], row['iqm_hi'])}, bootstrap"
    text += ")"
    if needs := _seeds_missing(row):
        text += f"; {needs}"
    return text


def _place(row: pd.Series) -> str:
    return place(row["task"], row["cell"])


def _seeds_missing(row: pd.Series) -> str:
    """How many seeds to plan for: for a difference as large as seen, or as large as the margin."""
    if not pd.isna(row["seeds_for_est"]):
        return f"about {row['seeds_for_est']:,} seeds per arm would show a difference of this size"
    if not pd.isna(row["seeds_needed"]):
        return f"about {row['seeds_needed']:,} seeds per arm would settle it"
    return ""


def headline(comparison: pd.DataFrame) -> str:
    """What the comparison says: a sentence for each candidate."""
    return " ".join(headlines(comparison))


def headlines(comparison: pd.DataFrame) -> list[str]:
    """A sentence for each candidate; where it has several rows, a list of tasks by verdict."""
    if comparison.empty:
        return ["No result yet: the confirm stage does not have trials of both arms."]
    groups = comparison.groupby("candidate", sort=False)
    return [sentence(g.iloc[0]) if len(g) == 1 else _list(g) for _, g in groups]


def _list(rows: pd.DataFrame) -> str:
    parts = []
    for verdict in VERDICTS:
        hits = rows[rows["verdict"] == verdict]
        if len(hits) and len(rows) <= MANY:
            parts.append(f"{_WORDS[verdict]} on {'; '.join(_short(r) for _, r in hits.iterrows())}")
        elif len(hits):
            named = verdict in ("win", "lose")
            names = f" ({', '.join(_place(r) for _, r in hits.iterrows())})" if named else ""
            parts.append(f"{_WORDS[verdict]} on {len(hits)} of {len(rows)}{names}")
    seeds = _range(rows["n"])
    methods = ", ".join(sorted(rows["method"].unique()))
    tail = f"95% intervals, n={seeds} seeds per arm, {methods}"
    if corrections := set(rows["correction"]) - {"none"}:
        tail += f", {corrections.pop()} comparisons"
    names = rows[["candidate", "baseline"]].iloc[0]
    return f"{names['candidate']} against {names['baseline']}: {', '.join(parts)} ({tail})."


def _short(row: pd.Series) -> str:
    text = f"{_place(row)} {number(row['est'], sign=True)}"
    if bounds := interval(row["lo"], row["hi"]):
        text += f" {bounds}"
    if needs := _seeds_missing(row):
        text += f" ({needs})"
    return text + (" (neither learned it)" if row["not_learned"] else "")


def _range(n: pd.Series) -> str:
    return str(n.min()) if n.min() == n.max() else f"{n.min()}\N{EN DASH}{n.max()}"
