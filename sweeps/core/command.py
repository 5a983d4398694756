"""The command line of a sweep: `key=value` words and a few flags, applied to its `Sweep`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flowpwm.checks import ConfigError, did_you_mean, one_of
from flowpwm.config import compose, flatten, presets
from flowpwm.envs import ENVS
from sweeps.core.sweep import SEED_SETS, Range, Sweep
from sweeps.core.values import parse_value

SECRET = re.compile(r"(?i)(^|[._-])(api_?)?(key|token|secret|passw\w*)($|[._-])")
WANDB_MODES = ("off", "offline", "online")


class UsageError(Exception):
    """What is wrong with a command or a sweep: `lines`, one for each problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what: none of it changes a result."""

    results: Path = Path("results")
    dry_run: bool = False
    resume: Path | None = None
    address: str | None = None
    quiet: bool = False
    yes: bool = False
    help: bool = False


class Setting(NamedTuple):
    """A word of the command line that sets a field of the sweep or of one of its stages."""

    path: str
    parse: Callable[[str, Any], Any]
    doc: str


def _whole(name: str, value: Any, low: int = 1) -> int:
    if type(value) is not int or value < low:
        raise UsageError(f"{name} must be a whole number of at least {low}, got {value!r}")
    return value


def _seed(name: str, value: Any) -> int:
    return _whole(name, value, low=0)


def _number(name: str, value: Any, above: float) -> float:
    if type(value) not in (int, float) or not above < value < float("inf"):
        raise UsageError(f"{name} must be a number above {above:g}, got {value!r}")
    return float(value)


def _fractions(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(type(v) is float and 0 < v < 1 for v in values):
        raise UsageError(f"{name} must be fractions in (0, 1), as in [0.25, 0.5], got {value}")
    return tuple(sorted(set(values)))


def _seeds(name: str, value: Any) -> tuple[int, ...]:
    """A number of seeds, or the seeds themselves."""
    first = SEED_SETS[name.partition(".")[0]].start
    if not isinstance(value, list):
        return tuple(range(first, first + _whole(name, value)))
    if not value or not all(type(seed) is int for seed in value):
        raise UsageError(f"{name} must be a count or a list of seeds, got {value}")
    return tuple(value)


def _wandb(name: str, value: Any) -> str:
    value = "off" if value is False else value
    if value not in WANDB_MODES:
        raise UsageError(f"{name} must be one of {', '.join(WANDB_MODES)}, got {value!r}")
    return value


SETTINGS: dict[str, Setting] = {
    "screen.trials": Setting("screen.trials", _whole, "configurations tried"),
    "screen.seed": Setting("screen.seed", _seed, "their seed, 0 to 99"),
    "screen.rungs": Setting("screen.rungs", _fractions, "fractions of the budget, or [] for none"),
    "screen.reduction": Setting(
        "screen.reduction", lambda n, v: _number(n, v, 1), "1 in so many passes a rung"
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
    "trial.cpus": Setting("cpus_per_trial", lambda n, v: _number(n, v, 0), "CPUs a trial"),
    "trial.gpus": Setting(
        "gpus_per_trial", lambda n, v: _number(n, v, 0), "GPUs a trial, or a share"
    ),
    "wandb": Setting("wandb", _wandb, "off, offline or online; one run a trial"),
}
WORDS = ("preset", "task", "results")
FLAGS = {
    "--dry-run": "check everything, show the plan, start nothing",
    "--resume PATH": "go on with the sweep in this folder",
    "--address HOST:PORT": "use a running Ray cluster ('auto': the one of this machine)",
    "--quiet": "only errors and the result",
    "--yes": "do not ask back: more than 10,000 trials are meant",
}


def parse(sweep: Sweep, words: Sequence[str]) -> tuple[Sweep, Options]:
    """The sweep and how to run it, as `words` ask for. Raises UsageError with every problem."""
    options, assignments = _split(words)
    problems: list[str] = []
    if "results" in assignments:
        options = dataclasses.replace(options, results=Path(assignments.pop("results")))
    for key, text in sorted(assignments.items(), key=lambda item: item[0] not in WORDS):
        try:
            sweep = _assign(sweep, key, text)
        except UsageError as error:
            problems += error.lines
        except ConfigError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return sweep, options


def resumed_folder(words: Sequence[str]) -> Path | None:
    """The folder of `--resume`: what it holds decides how the other words are read."""
    return _split(words)[0].resume


def _split(words: Sequence[str]) -> tuple[Options, dict[str, str]]:
    options: dict[str, Any] = {}
    assignments: dict[str, str] = {}
    problems: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.partition("=")
        if name in ("--dry-run", "--quiet", "--yes", "--help", "-h"):
            options["help" if name == "-h" else name[2:].replace("-", "_")] = True
        elif name in ("--resume", "--address"):
            text = text if equals else rest.pop(0) if rest else ""
            if not text:
                problems.append(f"{name} needs a value after it")
            options[name[2:]] = Path(text) if name == "--resume" else text
        elif word.startswith("-") or not equals or not name:
            flags = [flag.split()[0] for flag in FLAGS]
            problems.append(f"unknown word {word!r}; use key=value.{did_you_mean(name, flags)}")
        elif SECRET.search(name):
            problems.append(f"{name} looks like a secret: secrets come from the environment only")
        elif name in assignments:
            problems.append(f"{name} is given twice: {assignments[name]!r} and {text!r}")
        else:
            assignments[name] = text
    if problems:
        raise UsageError(*problems)
    return Options(**options), assignments


def _assign(sweep: Sweep, key: str, text: str) -> Sweep:
    if not text.strip():
        raise UsageError(f"{key} needs a value: {key}=...")
    if key == "task":
        one_of("task", text, ENVS)
        return dataclasses.replace(sweep, task=text)
    if key == "preset":
        names = text.split()
        for name in names:
            one_of("preset", name, presets())
        tasks = [name for name in names if name in ENVS]
        sizes = " ".join(name for name in names if name not in ENVS)
        return dataclasses.replace(sweep, presets=sizes, task=tasks[-1] if tasks else sweep.task)
    value = parse_value(text)
    if key in SETTINGS:
        return _set(sweep, SETTINGS[key].path, SETTINGS[key].parse(key, value))
    if (axis := axis_named(sweep, key)) is not None:
        values = value if isinstance(value, (list, Range)) else [value]
        return _with_axis(sweep, axis, values)
    known = known_keys(sweep)
    if key not in known:
        names = [*WORDS, *SETTINGS, *sweep.space, *(k.split(".")[-1] for k in sweep.space), *known]
        raise UsageError(f"unknown key {key!r}.{did_you_mean(key, names)}")
    if isinstance(value, Range) or (isinstance(value, list) and not isinstance(known[key], list)):
        return _with_axis(sweep, key, value)
    return dataclasses.replace(sweep, fixed=dict(sweep.fixed) | {key: value})


def axis_named(sweep: Sweep, key: str) -> str | None:
    """The axis with this full name, or the only one with this last name."""
    if key in sweep.space:
        return key
    matches = [axis for axis in sweep.space if axis.split(".")[-1] == key]
    return matches[0] if len(matches) == 1 else None


def known_keys(sweep: Sweep) -> Mapping[str, Any]:
    """Every dotted key of a run's configuration, of any arm, with its value in the presets."""
    known: dict[str, Any] = {}
    for arm in sweep.arms:
        known |= flatten(compose(sweep.preset_of(arm), {"task": sweep.task}))
    return known


def _with_axis(sweep: Sweep, axis: str, values: list[Any] | Range) -> Sweep:
    if isinstance(values, list):
        if not values:
            raise UsageError(f"axis {axis} is empty: give at least one value")
        twice = [v for i, v in enumerate(values) if v in values[:i]]
        if twice:
            raise UsageError(f"axis {axis} has {twice[0]!r} twice")
    frozen = values if isinstance(values, Range) else tuple(values)
    return dataclasses.replace(sweep, space=dict(sweep.space) | {axis: frozen})


def _set(sweep: Sweep, path: str, value: Any) -> Sweep:
    stage, dot, name = path.partition(".")
    if not dot:
        return dataclasses.replace(sweep, **{path: value})
    changed = dataclasses.replace(getattr(sweep, stage), **{name: value})
    return dataclasses.replace(sweep, **{stage: changed})


def usage(sweep: Sweep) -> str:
    """The help page of this sweep."""
    lines = [f"usage: python sweeps/{sweep.name}.py [key=value ...] [flags]", ""]
    lines += ["  preset='NAME ...'".ljust(32) + f"sizes and variants, now {sweep.presets!r}"]
    lines += ["  task=NAME".ljust(32) + f"now {sweep.task}; known: {', '.join(ENVS)}"]
    lines += ["  results=FOLDER".ljust(32) + "where results go, now 'results'", "", "space"]
    for axis, values in sweep.space.items():
        lines.append(f"  {axis}".ljust(32) + _show_axis(values))
    lines += ["  KEY=[a,b] KEY=uniform(a,b)".ljust(32) + "loguniform, int: one more axis"]
    lines += [
        "  KEY=value".ljust(32) + "fixed for every arm, KEY as in a run's configuration",
        "",
    ]
    lines += [f"  {name}".ljust(32) + setting.doc for name, setting in SETTINGS.items()]
    lines += ["", *(f"  {flag}".ljust(32) + doc for flag, doc in FLAGS.items())]
    return "\n".join(lines)


def _show_axis(axis: Any) -> str:
    return str(axis) if isinstance(axis, Range) else "[" + ", ".join(map(str, axis)) + "]"
