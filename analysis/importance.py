"""Which hyperparameters mattered in the screening, and only where the design can tell.

Where two of them changed together, their effects cannot be told apart by any statistic: the answer
is then an error that names them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.compare import arm_scores
from analysis.frames import Frames
from analysis.load import reads
from analysis.names import InputError, check
from analysis.scores import WINDOW
from sweeps.core.store.schema import PARAM_PREFIX

METHODS = ("auto", "ped-anova", "marginal", "interactions")
#: PED-ANOVA compares the best tenth with all: of fewer trials it would be a few lucky ones.
MIN_TRIALS = 50
MIN_BEST = 5
BEST = 0.1
_COLUMNS = ["task", "parameter", "value", "est", "lo", "hi", "n", "method"]


@reads
def importance(
    frames: Frames,
    *,
    method: str = "auto",
    stage: str = "screen",
    score: str = "return_mean",
    window: int = WINDOW,
) -> pd.DataFrame:
    """By task: columns task, parameter, value, est, lo, hi, n, method.

    "ped-anova" (from 50 whole trials on; Watanabe et al. 2023, arXiv:2304.10255): est is the share
    of what tells the best tenth from the rest, value is "". "marginal": est is the mean score of
    the trials with this value, with a t interval, over whatever else varied; "interactions": the
    same for pairs of values of two parameters. "auto": the first that the number of trials allows.
    Trials that were stopped have no score at their budget and do not count.

    Raises:
        InputError: unknown method, score or stage; nothing varied; parameters whose effects cannot
            be told apart; too few trials for "ped-anova".
    """
    check("method", method, METHODS)
    if len(frames.trials) and stage not in set(frames.trials["stage"]):
        raise InputError(f"the sweep has no {stage} stage: nothing varied in it")
    scores = arm_scores(frames, stage=stage, score=score, window=window)
    params = [name for name in frames.trials.columns if name.startswith(PARAM_PREFIX)]
    rows = scores[scores["counts"]].merge(frames.trials[["trial_id", *params]], on="trial_id")
    found: list[dict[str, Any]] = []
    for task, group in rows.groupby("task", sort=True):
        whole = group.dropna(subset=[name for name in params if group[name].notna().any()])
        varied = [name for name in params if whole[name].nunique() > 1]
        if not varied:
            continue
        refuse_confounded(whole[varied].rename(columns=_short), str(task))
        lines = _of_task(whole, varied, method)
        found += [{"task": task} | line for line in lines]
    if not found:
        raise InputError(f"no hyperparameter varied among the whole trials of the {stage} stage")
    return pd.DataFrame(found, columns=_COLUMNS)


def refuse_confounded(design: pd.DataFrame, task: str) -> None:
    """Raise InputError where the main effects of the columns cannot be told apart."""
    blocks = {name: _indicators(design[name]) for name in design.columns}
    whole = np.column_stack([np.ones(len(design)), *blocks.values()])
    if np.linalg.matrix_rank(whole) == whole.shape[1]:
        return
    for one, other in itertools.combinations(blocks, 2):
        pair = np.column_stack([np.ones(len(design)), blocks[one], blocks[other]])
        if np.linalg.matrix_rank(pair) < pair.shape[1]:
            raise InputError(
                f"importance on {task}: {one} and {other} changed together, their effects cannot "
                "be told apart"
            )
    names = ", ".join(blocks)
    raise InputError(
        f"importance on {task}: {len(design)} whole trials are too few or too alike to tell the "
        f"effects of {names} apart"
    )


def _of_task(whole: pd.DataFrame, varied: Sequence[str], method: str) -> list[dict[str, Any]]:
    enough = len(whole) >= MIN_TRIALS and round(BEST * len(whole)) >= MIN_BEST
    if method == "ped-anova" and not enough:
        raise InputError(f"ped-anova needs {MIN_TRIALS} whole trials, there are {len(whole)}")
    if method == "ped-anova" or (method == "auto" and enough):
        return _ped_anova(whole, varied)
    if method == "interactions":
        return [
            line
            for one, other in itertools.combinations(varied, 2)
            for line in _means(whole, [one, other])
        ]
    return [line for name in varied for line in _means(whole, [name])]


def _means(whole: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    parameter = " x ".join(map(_short, names))
    lines = []
    for values, group in whole.groupby(names, sort=True):
        estimate = dataclasses.asdict(stats.mean_interval(group["value"].to_numpy(float)))
        value = ", ".join(f"{v:g}" if isinstance(v, (int, float)) else str(v) for v in values)
        lines.append({"parameter": parameter, "value": value} | estimate)
    return lines


def _ped_anova(whole: pd.DataFrame, varied: Sequence[str]) -> list[dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spaces = {_short(name): _distribution(whole[name]) for name in varied}
    study = optuna.create_study(direction="maximize")
    for row in whole.to_dict("records"):
        params = {_short(name): row[name] for name in varied}
        trial = optuna.trial.create_trial(value=row["value"], params=params, distributions=spaces)
        study.add_trial(trial)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    nothing = {"lo": np.nan, "hi": np.nan, "n": len(whole), "method": "ped-anova, best tenth"}
    return [{"parameter": name, "value": "", "est": x} | nothing for name, x in shares.items()]


def _distribution(values: pd.Series) -> Any:
    """What the values seen are drawn from: these ones, or a range where there are many numbers."""
    import optuna

    seen = sorted(values.unique().tolist())
    if len(seen) <= 12 or not pd.api.types.is_numeric_dtype(values):
        return optuna.distributions.CategoricalDistribution(seen)
    if pd.api.types.is_integer_dtype(values):
        return optuna.distributions.IntDistribution(seen[0], seen[-1])
    wide = seen[0] > 0 and seen[-1] / seen[0] > 100
    return optuna.distributions.FloatDistribution(seen[0], seen[-1], log=wide)


def _indicators(values: pd.Series) -> np.ndarray:
    """A column for each value but the first; many numbers are one column, their trend."""
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > 12:
        spread = values.to_numpy(float)
        return ((spread - spread.mean()) / spread.std())[:, None]
    return pd.get_dummies(values.astype(str), drop_first=True).to_numpy(float)


def _short(name: object) -> str:
    return str(name).removeprefix(PARAM_PREFIX)
