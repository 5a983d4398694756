"""The `key=value` words of a command line, applied to a `Sweep`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from flowpwm.checks import ConfigError, did_you_mean, one_of, refuse_wrong_key
from flowpwm.compose import presets
from flowpwm.envs import ENVS
from flowpwm.envs.tasks import TASK_SETS, task_set
from flowpwm.settings_file import Given, read_settings
from sweeps.core.definition.asked import Asked
from sweeps.core.definition.axes import Range, last_name
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.options import FLAG_NAMES, Options, split
from sweeps.core.definition.settings import SEEDS, UsageError, more_seeds, settings_of
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune

S = TypeVar("S", bound=Sweep)


WORDS = ("preset", "task", "arms", "baseline", "goal", "results")
#: Folders of the user; trials run elsewhere, so a relative path would mean another place there.
PATHS = ("dataset", "init_world_model")


def parse(
    sweep: S, words: Sequence[str], offered: Mapping[str, str] = MappingProxyType({})
) -> tuple[S, Options]:
    """The sweep and how to run it, as `words` ask for. Raises UsageError with every problem.

    Arms can be named that the sweep has, that are `offered` with it, or that are presets. With
    `--extend` a number of seeds keeps those that the sweep has, and counts them.
    """
    options, typed = split(words)
    asked = _from_files(options.config)
    given = {
        key: Given(each.content, each.place) for key, each in asked.items() if key not in typed
    }
    asked |= {key: Asked(text) for key, text in typed.items()}
    problems: list[str] = []
    had = sweep if options.extend is not None else None
    if "results" in asked:
        options = dataclasses.replace(options, results=_results(asked.pop("results")))
    for key, each in sorted(asked.items(), key=lambda item: _turn(item[0])):
        where = f" ({each.place})" if each.place else ""
        try:
            sweep = _assign(sweep, key, each, offered, had)
        except UsageError as error:
            problems += [line + where for line in error.lines]
        except ConfigError as error:
            problems.append(f"{error}{where}")
        except ValueError as error:
            problems.append(f"{key}: {error}{where}")
    for key in asked:
        name = key.removeprefix("arms.")
        if key.startswith("arms.") and name not in sweep.arms and not problems:
            problems.append(f"{key} is set, but arms={asked['arms'].content} leaves it out")
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    if isinstance(sweep, Compare) and len(sweep.arms) == 1 and "baseline" not in asked:
        sweep = dataclasses.replace(sweep, baseline=next(iter(sweep.arms)))
    return sweep, dataclasses.replace(options, given=given)


def _from_files(paths: Sequence[Path]) -> dict[str, Asked]:
    try:
        given = read_settings(paths)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    if "results" in given:
        place = given["results"].place
        raise UsageError(f"results is for the command line: a file says what to run ({place})")
    return {key: Asked(*setting) for key, setting in given.items()}


def _results(asked: Asked) -> Path:
    text = asked.text("results")
    if not text.strip():
        raise UsageError("results needs a value: results=FOLDER")
    if "://" in text:
        raise UsageError(f"results must be a folder of this machine, got {text!r}")
    return Path(text)


def _turn(key: str) -> int:
    """Presets and arms go first: they decide which keys there are."""
    if key == "preset" or key.startswith("arms."):
        return 0
    return 1 if key in WORDS and key != "baseline" else 2


def _assign(sweep: S, key: str, asked: Asked, offered: Mapping[str, str], had: Sweep | None) -> S:
    if asked.is_empty():
        raise UsageError(f"{key} needs a value: {key}=...")
    if key == "task":
        return _with_tasks(sweep, [str(name) for name in asked.items()])
    if key == "preset":
        return _with_presets(sweep, asked.text(key).split())
    if key == "arms":
        return _with_arms(sweep, [str(name) for name in asked.items()], offered)
    if key.startswith("arms."):
        if "." in (name := key.removeprefix("arms.")):
            arm, _, inner = name.partition(".")
            raise UsageError(f"an arm is one text, as in arms: {{{arm}: '{arm} {inner}=...'}}")
        words = " ".join(map(_arm_word, asked.text(key).split()))
        return dataclasses.replace(
            sweep, arms=dict(sweep.arms) | {key.removeprefix("arms."): words}
        )
    if key == "baseline":
        one_of("baseline", asked.content, sweep.arms)
        return dataclasses.replace(sweep, baseline=asked.content)
    if key == "goal":
        return dataclasses.replace(sweep, goal=" ".join(asked.text(key).split()))
    settings = settings_of(sweep)
    if key in settings:
        value = asked.value()
        if had is not None and key in SEEDS and type(value) is int:
            value = more_seeds(key, value, had.seeds(SEEDS[key]))
        return _set(sweep, settings[key].path, settings[key].parse(key, value))
    value = [_absolute(item) for item in asked.items()] if key in PATHS else asked.value()
    if key in PATHS and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if (axis := axis_named(sweep, key)) is not None:
        values = value if isinstance(value, (list, Range)) else [value]
        return _with_axis(sweep, axis, values)
    known = known_keys(sweep)
    key = _full_key(key, [*WORDS, *settings], known)
    if isinstance(value, Range) or (isinstance(value, list) and not isinstance(known[key], list)):
        return _with_axis(sweep, key, value)
    return dataclasses.replace(sweep, fixed=dict(sweep.fixed) | {key: value})


def _full_key(key: str, words: list[str], known: Mapping[str, Any]) -> str:
    """The dotted key that is meant: itself, or the only one that ends in it."""
    matches = [name for name in known if key in (name, last_name(name))]
    if key in known or len(matches) == 1:
        return key if key in known else matches[0]
    if matches:
        raise UsageError(f"{key!r} is short for {' and for '.join(matches)}: give one in full")
    if (flag := f"--{key.replace('_', '-')}") in FLAG_NAMES:
        raise UsageError(f"{key} is a flag of the command line: {flag}")
    names = [*words, *known, *map(last_name, known)]
    # What another sort of sweep calls it, before what merely looks like it.
    same = [name for name in words if last_name(name) == last_name(key)]
    hint = f" Did you mean {' or '.join(map(repr, same))}?" if same else did_you_mean(key, names)
    raise UsageError(f"unknown key {key!r}.{hint}")


def _with_tasks(sweep: S, names: list[str]) -> S:
    if not names:
        raise UsageError("task must name at least one task, as in task=cheetah-run")
    if isinstance(sweep, Tune) and len(names) > 1:
        raise UsageError(f"task must be one task where a sweep tunes, got {', '.join(names)}")
    for name in names:
        try:
            task_set(name)
        except ValueError as error:  # it says all that there is to say
            raise UsageError(str(error)) from error
    _refuse_twice("task", names)
    return dataclasses.replace(sweep, tasks=tuple(names))


def _with_presets(sweep: S, names: list[str]) -> S:
    for name in names:
        if "," in name:
            raise UsageError(
                f"preset={name}: presets are separated by spaces, as in "
                f"preset='{name.replace(',', ' ')}'"
            )
        one_of("preset", name, presets())
    tasks = [name for name in names if name in ENVS or name in TASK_SETS]
    sweep = dataclasses.replace(sweep, presets=" ".join(n for n in names if n not in tasks))
    return _with_tasks(sweep, tasks) if tasks else sweep


def _with_arms(sweep: S, names: list[str], offered: Mapping[str, str]) -> S:
    """Only these arms: those of the sweep by their name, others by the preset they are."""
    if not names:
        raise UsageError("arms must name at least one arm, as in arms=[mlp,flow]")
    _refuse_twice("arms", names)
    arms = {name: name for name in presets()} | dict(offered) | dict(sweep.arms)
    settings = [name for name in presets() if name not in (*ENVS, *TASK_SETS)]
    for name in names:
        if name not in arms:
            one_of("arm or preset", name, dict.fromkeys([*sweep.arms, *offered, *settings]))
    return dataclasses.replace(sweep, arms={name: arms[name] for name in names})


def _refuse_twice(key: str, names: Sequence[Any]) -> None:
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise UsageError(f"{key} has {twice[0]!r} twice")


def _absolute(path: Any) -> str:
    if path == "":
        return ""  # none, in place of the one that a preset or the sweep names
    return os.path.realpath(os.path.expanduser(str(path)))


def _arm_word(word: str) -> str:
    """A word of an arm, with the whole path where it is one."""
    key, equals, text = word.partition("=")
    refuse_wrong_key(key)
    return f"{key}={_absolute(text)}" if equals and text and key in PATHS else word


def axis_named(sweep: Sweep, key: str) -> str | None:
    """The axis with this full name, or the only one with this last name."""
    if key in sweep.space:
        return key
    matches = [axis for axis in sweep.space if axis.split(".")[-1] == key]
    return matches[0] if len(matches) == 1 else None


def known_keys(sweep: Sweep) -> Mapping[str, Any]:
    """Every dotted key of a run's configuration, of any arm, with its default."""
    known: dict[str, Any] = {}
    for arm in sweep.arms:
        known |= sweep.keys(arm)
    return known


def _with_axis(sweep: S, axis: str, values: list[Any] | Range) -> S:
    if isinstance(values, list):
        if not values:
            raise UsageError(f"axis {axis} is empty: give at least one value")
        _refuse_twice(f"axis {axis}", values)
    frozen = values if isinstance(values, Range) else tuple(values)
    return dataclasses.replace(sweep, space=dict(sweep.space) | {axis: frozen})


def _set(sweep: S, path: str, value: Any) -> S:
    stage, dot, name = path.partition(".")
    if not dot:
        return dataclasses.replace(sweep, **{path: value})
    changed = dataclasses.replace(getattr(sweep, stage), **{name: value})
    return dataclasses.replace(sweep, **{stage: changed})
