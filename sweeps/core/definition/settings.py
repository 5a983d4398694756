"""The words of a command line that set a field of a sweep or of one of its stages."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sweeps.core.definition.sweep import FIRST_TEST_SEED, Sweep
from sweeps.core.definition.tune import SEED_SETS, Tune

MOST_SEEDS = 100_000
_ACCELERATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
WANDB_MODES = ("off", "offline", "online")


class UsageError(Exception):
    """What is wrong with a command or a sweep: `lines`, one for each problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Setting(NamedTuple):
    """A word of the command line that sets a field of the sweep or of one of its stages."""

    path: str
    parse: Callable[[str, Any], Any]
    doc: str


def _whole(name: str, value: Any, low: int = 1, high: int = 2**63 - 1) -> int:
    if type(value) is not int or value < low:
        raise UsageError(f"{name} must be a whole number of at least {low}, got {value!r}")
    if value > high:
        raise UsageError(f"{name} must be at most {high}, got {value}")
    return value


def _seed(name: str, value: Any) -> int:
    return _whole(name, value, low=0)


def _number(name: str, value: Any, above: float) -> float:
    if type(value) not in (int, float) or not above < value < float("inf"):
        raise UsageError(f"{name} must be a number above {above:g}, got {value!r}")
    return float(value)


def _gpus(name: str, value: Any) -> float:
    """A number of GPUs or a share; 0.0 for `auto`: the share that the configuration fills."""
    if value == "auto":
        return 0.0
    if type(value) in (int, float) and (0 < value <= 1 or (value > 1 and value % 1 == 0)):
        return float(value)
    raise UsageError(
        f"{name} must be auto, a share of a GPU such as 0.5, or a whole number, got {value!r}"
    )


def _accelerator(name: str, value: Any) -> str:
    if isinstance(value, str) and _ACCELERATOR.fullmatch(value):
        return value
    raise UsageError(f"{name} must be a type of GPU as Ray names it, such as H100, got {value!r}")


def _not_negative(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise UsageError(f"{name} must be a number of at least 0, got {value!r}")
    return float(value)


def _fractions(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(type(v) is float and 0 < v < 1 for v in values):
        raise UsageError(f"{name} must be fractions in (0, 1), as in [0.25, 0.5], got {value}")
    return tuple(sorted(set(values)))


def _seeds(name: str, value: Any) -> tuple[int, ...]:
    """A number of seeds, or the seeds themselves."""
    stage = name.partition(".")[0]
    first = SEED_SETS[stage].start if stage in SEED_SETS else FIRST_TEST_SEED
    if type(value) is int and value > 0:
        return tuple(range(first, first + _whole(name, value, high=MOST_SEEDS)))
    if (
        not isinstance(value, list)
        or not value
        or not all(type(seed) is int and seed >= 0 for seed in value)
    ):
        raise UsageError(f"{name} must be a count or a list of seeds, got {value!r}")
    return tuple(value)


def more_seeds(name: str, count: int, had: Sequence[int]) -> list[int]:
    """`count` seeds: those that a sweep has, and the next of the kind. Raises UsageError."""
    if _whole(name, count) < len(had):
        raise UsageError(f"{name}={count} is fewer than the {len(had)} that there are")
    pool = itertools.count(_seeds(name, 1)[0])
    fresh = (seed for seed in pool if seed not in had)
    return [*had, *itertools.islice(fresh, count - len(had))]


def _wandb(name: str, value: Any) -> str:
    value = "off" if value is False else value
    if value not in WANDB_MODES:
        raise UsageError(f"{name} must be one of {', '.join(WANDB_MODES)}, got {value!r}")
    return value


def _switch(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise UsageError(f"{name} must be true or false, got {value!r}")
    return value


_SHARED = {
    "trial.cpus": Setting("cpus_per_trial", lambda n, v: _number(n, v, 0), "CPUs a trial"),
    "trial.gpus": Setting(
        "gpus_per_trial", _gpus, "GPUs a trial, or a share; auto: as many trials as fit on one"
    ),
    "trial.memory": Setting(
        "memory_per_trial", lambda n, v: _number(n, v, 0), "host memory a trial, in GiB"
    ),
    "trial.accelerator": Setting(
        "accelerator", _accelerator, "type of GPU a trial needs, as Ray names it: H100, A100, L40S"
    ),
    "trial.together": Setting(
        "seeds_per_program",
        lambda n, v: _whole(n, v, 0, MOST_SEEDS),
        "seeds of a configuration trained as one program, after the screen; 0: as many as pay",
    ),
    "wandb": Setting("wandb", _wandb, "off, offline or online; one run a trial"),
    "tensorboard": Setting("tensorboard", _switch, "true: event files, one run a trial"),
}
TUNE_SETTINGS: dict[str, Setting] = {
    "screen.trials": Setting("screen.trials", _whole, "configurations tried"),
    "screen.seed": Setting("screen.seed", _seed, "their seed, 0 to 99"),
    "screen.rungs": Setting("screen.rungs", _fractions, "fractions of the budget, or [] for none"),
    "screen.reduction": Setting(
        "screen.reduction", lambda n, v: _number(n, v, 1), "1 in so many passes a rung"
    ),
    "screen.margin": Setting(
        "screen.margin", _not_negative, "standard errors below the cut that still pass a rung"
    ),
    "screen.score_se": Setting(
        "screen.score_se", _not_negative, "standard error of a score; 0: from the last evaluations"
    ),
    "screen.episodes": Setting("screen.episodes", _whole, "episodes an evaluation"),
    "select.top": Setting("select.top", _whole, "configurations selected from"),
    "select.seeds": Setting("select.seeds", _seeds, "count, or list of seeds from 100 to 999"),
    "select.episodes": Setting("select.episodes", _whole, "episodes an evaluation"),
    "confirm.seeds": Setting("confirm.seeds", _seeds, "count, or list of seeds from 1000"),
    "confirm.episodes": Setting("confirm.episodes", _whole, "episodes an evaluation"),
    "search.seed": Setting("search_seed", _seed, "order in which the space is searched"),
    "max_nfe": Setting(
        "max_nfe", lambda n, v: _whole(n, v, 0), "velocity evaluations a step, at most; 0: any"
    ),
} | _SHARED
#: Words for seeds, and the stage whose seeds they are.
SEEDS = {"seeds": "confirm", "select.seeds": "select", "confirm.seeds": "confirm"}
COMPARE_SETTINGS: dict[str, Setting] = {
    "seeds": Setting("confirm.seeds", _seeds, "count (from 1000 on), or list of any seeds"),
    "episodes": Setting("confirm.episodes", _whole, "episodes an evaluation"),
} | _SHARED


def settings_of(sweep: Sweep) -> Mapping[str, Setting]:
    """The words that set something of this kind of sweep."""
    return TUNE_SETTINGS if isinstance(sweep, Tune) else COMPARE_SETTINGS


def word_for(sweep: Sweep, path: str) -> str:
    """The word of the command line that sets this field, as "seeds" or "confirm.seeds"."""
    return next(word for word, setting in settings_of(sweep).items() if setting.path == path)
