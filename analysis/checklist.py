"""What a reader must know of how hyperparameters were tuned, answered from the sweep itself.

The questions are those of Eimer, Lindauer and Raileanu (2023, arXiv:2306.01324, appendix A), in our
words. An answer is "yes", "no" or "stated" where the question is not one of yes or no; what the
sweep did not record is "unknown", never assumed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import registry_words
from analysis.compare import arm_scores
from analysis.frames import Frames
from analysis.load import reads
from analysis.verdict import number

_IMPORTED = "imported from logs, which do not tell"
COLUMNS = ["question", "answer", "evidence"]
_Answer = tuple[str, str, str]


@reads
def checklist(frames: Frames) -> pd.DataFrame:
    """One row a question: question, answer ("yes", "no", "stated", "unknown"), evidence."""
    answers = [
        _separate_seeds(frames),
        _untouched_tests(frames),
        _method(frames),
        _space(frames),
        _budget(frames),
        _objective(frames),
        _baseline(frames),
        _equal_budgets(frames),
        _seeds(frames),
        _uncertainty(frames),
        _compute(frames),
        _versions(frames),
    ]
    return pd.DataFrame(answers, columns=COLUMNS)


def as_markdown(frames: Frames) -> str:
    """The checklist as a Markdown document."""
    lines = [
        f"# How {frames.name} was tuned",
        "",
        "After the checklist of Eimer, Lindauer and Raileanu (2023, arXiv:2306.01324), filled in "
        "from what the sweep recorded.",
        "",
        "| question | answer | evidence |",
        "|---|---|---|",
    ]
    for row in checklist(frames).itertuples(index=False, name=None):
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join([*lines, ""])


def _stage_seeds(frames: Frames) -> dict[str, set[int]]:
    groups = frames.trials.groupby("stage")["seed"]
    return {str(stage): {int(seed) for seed in seeds} for stage, seeds in groups}


def _separate_seeds(frames: Frames) -> _Answer:
    question = "Are the seeds for tuning and for testing separate?"
    if frames.spec.get("imported"):
        return question, "unknown", _IMPORTED
    seeds = _stage_seeds(frames)
    tests, tuned = seeds.pop("confirm", set()), set().union(*seeds.values()) if seeds else set()
    if not tests:
        return question, "unknown", "no trial on test seeds yet"
    if not tuned:
        return question, "yes", "nothing was tuned"
    shared = tests & tuned
    told = "; ".join(f"{stage} {_range(found)}" for stage, found in seeds.items())
    if shared:
        return question, "no", f"seeds {sorted(shared)} are in both"
    return question, "yes", f"{told}; test {_range(tests)}"


def _untouched_tests(frames: Frames) -> _Answer:
    question = "Was the choice made before the test seeds were looked at?"
    if frames.spec.get("imported"):
        return question, "unknown", _IMPORTED
    if frames.extensions:
        return question, "no", f"the sweep was extended {len(frames.extensions)} times"
    if len(frames.winners) > 1:
        return question, "no", f"{len(frames.winners)} winners were chosen one after another"
    return question, "yes", "one choice, before the confirm stage; its rule was fixed at the start"


def _method(frames: Frames) -> _Answer:
    question = "How were hyperparameters tuned?"
    spec = frames.spec
    if spec.get("kind") == "tune":
        rungs = (spec.get("screen") or {}).get("rungs")
        text = registry_words.methodology(spec)
        stop = f"; ASHA at {rungs} of the budget" if rungs else "; no early stopping"
        return question, "stated", f"{text}{stop}; Optuna's TPE where the space is no small grid"
    return question, "stated", f"{spec.get('kind') or 'unknown'}: all values were compared"


def _space(frames: Frames) -> _Answer:
    space = frames.spec.get("space") or {}
    text = "; ".join(f"{key} in {json.dumps(values)}" for key, values in space.items())
    answer = "stated" if text else "unknown"
    return "What was the search space?", answer, text or "not recorded"


def _budget(frames: Frames) -> _Answer:
    tuned = frames.trials[frames.trials["stage"] != "confirm"]
    hours = float(tuned["wall_time_s"].fillna(0.0).sum()) / 3600
    text = f"{len(tuned)} tuning runs, {number(hours)} hours of runs"
    return "What was the budget of tuning?", "stated", text


def _objective(frames: Frames) -> _Answer:
    protocols = sorted(str(p) for p in frames.evals["protocol"].dropna().unique())
    text = "mean of the last 5 evaluations of return_mean"
    text += "" if frames.spec.get("imported") else " (deterministic policy)"
    return "What was optimised?", "stated", f"{text}; protocols {', '.join(protocols) or 'unknown'}"


def _baseline(frames: Frames) -> _Answer:
    question = "Was the baseline tuned as much as the candidate?"
    if frames.spec.get("imported"):
        return question, "unknown", _IMPORTED
    base = frames.spec.get("baseline")
    tuned = frames.trials[frames.trials["stage"].isin(["screen", "select"])]
    if tuned.empty:
        return question, "yes", "nothing was tuned"
    counts = tuned.groupby("arm")["config_id"].nunique().to_dict()
    told = ", ".join(f"{arm} {n} configurations" for arm, n in counts.items())
    if base not in counts:
        return question, "no", f"{told}; {base} ran with its preset"
    others = [n for arm, n in counts.items() if arm != base]
    equal = all(n == counts[base] for n in others)
    return question, "yes" if equal else "no", told


def _equal_budgets(frames: Frames) -> _Answer:
    question = "Did all arms train for as long?"
    done = frames.trials[(frames.trials["stage"] == "confirm") & frames.trials["score"].notna()]
    if done.empty:
        return question, "unknown", "no trial on test seeds yet"
    name = "env_steps" if (done["env_steps"] > 0).any() else "epochs_done"
    spent = done.groupby("arm")[name].mean().to_dict()
    told = ", ".join(f"{arm} {n:,.0f}" for arm, n in spent.items())
    equal = max(spent.values()) <= 1.01 * min(spent.values())
    return question, "yes" if equal else "no", f"{name.replace('_', ' ')}: {told}"


def _seeds(frames: Frames) -> _Answer:
    question = "How many test seeds, and are all of them reported?"
    scores = arm_scores(frames)
    if scores.empty:
        return question, "unknown", "no trial on test seeds yet"
    planned = scores.groupby(["place", "label"]).size()
    counted = scores.groupby(["place", "label"])["counts"].sum()
    missing = int((planned - counted).sum())
    text = f"{planned.min()} to {planned.max()} an arm and task, {missing} without a result"
    return question, "yes" if not missing else "no", text


def _uncertainty(frames: Frames) -> _Answer:
    scores = arm_scores(frames)
    n = int(scores.groupby(["place", "label"])["counts"].sum().min()) if len(scores) else 0
    text = "95 % t intervals; from 10 seeds on also a bootstrap of the IQM; Holm's correction"
    enough = "yes" if n >= 3 else "no"
    return "Is the uncertainty over seeds reported?", enough, f"{text}; fewest seeds {n}"


def _compute(frames: Frames) -> _Answer:
    hours = frames.trials["wall_time_s"].fillna(0.0) / 3600
    gpu = float((hours * frames.trials["num_gpus"].fillna(0.0)).sum())
    cpu = float((hours * frames.trials["num_cpus"].fillna(0.0)).sum())
    return "What did it cost?", "stated", f"{number(gpu)} GPU-hours, {number(cpu)} CPU-hours"


def _versions(frames: Frames) -> _Answer:
    question = "Can it be run again?"
    path = frames.path / "environment.json"
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return question, "unknown", "environment.json is not there"
    commit = found.get("git") or "unknown"
    command = " ".join(map(str, found.get("command") or ()))
    answer = "no" if "dirty" in str(commit) or commit == "unknown" else "yes"
    return question, answer, f"`{command}` at commit {commit}, versions in environment.json"


def _range(seeds: Sequence[int] | set[int]) -> str:
    return registry_words.seeds_text(sorted(seeds))
