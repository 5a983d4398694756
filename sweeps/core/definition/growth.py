"""What may be added to a sweep that ran: more of what it has, nothing less and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sweeps.core.definition.axes import Axis, Range, value_text
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.definition.tune import Tune

S = TypeVar("S", bound=Sweep)

#: How trials run and what the sweep is called for: none of it changes a result.
FREE = (
    *("goal", "wandb", "tensorboard"),
    *("cpus_per_trial", "gpus_per_trial", "memory_per_trial", "accelerator"),
    "seeds_per_program",
)
#: Lists that may get longer.
_LISTS = ("tasks", "confirm.seeds", "select.seeds")
#: Numbers that may get larger.
_COUNTS = ("screen.trials", "select.top")


class NothingAdded(UsageError):
    """All that was asked for is there."""


@dataclass(frozen=True)
class Growth(Generic[S]):
    """A sweep with what was added to it, and that by setting: {"arms": "flow_v2"}.

    What was there stays in its place, so that equal growths are equal whatever the order of words.
    """

    sweep: S
    added: Mapping[str, str]

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that begin again. Seeds and arms of the comparison itself choose nothing; all
        else of a tune sweep may change what is chosen.
        """
        chooses = isinstance(self.sweep, Tune) and self.added.keys() - {"confirm.seeds"}
        return self.sweep.STAGES if chooses else ("confirm",)

    @property
    def text(self) -> str:
        """All that was added, in one line."""
        return "; ".join(f"{setting} {what}" for setting, what in self.added.items())


def grow(stored: S, asked: S) -> Growth[S]:
    """`asked`, if it is `stored` and more.

    Raises UsageError with a line for every setting that would become less or another, and where
    nothing is added.
    """
    old, new = flat(stored.to_dict()), flat(asked.to_dict())
    added: dict[str, str] = {}
    problems: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        if key in FREE or (key in old and key in new and old[key] == new[key]):
            continue
        try:
            setting, what = _added(key, stored, asked, old, new)
        except UsageError as error:
            problems += error.lines
        else:
            added[setting] = ", ".join(filter(None, (added.get(setting), what)))
    if problems:
        raise UsageError(*problems)
    if not added:
        raise NothingAdded(
            "--extend adds nothing: name more of what the sweep has, as in seeds=10; "
            "--resume goes on with it as it is"
        )
    return Growth(_in_order(stored, asked), added)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        # The keys of a space are dotted themselves: its axes are compared whole.
        if isinstance(value, Mapping) and prefix != "space.":
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def difference(
    flag: str, key: str, old: Mapping[str, Any], new: Mapping[str, Any], why: str = ""
) -> str:
    """The line for a setting that must not change."""
    then, now = (
        repr(values[key]) if values.get(key) is not None else "as the presets have it"
        for values in (old, new)
    )
    return (
        f"{flag} cannot change {key.removeprefix('fixed.')}: {then} then, {now} now; "
        f"{why or 'start a new sweep for that'}"
    )


def _added(
    key: str, stored: Sweep, asked: Sweep, old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[str, str]:
    """The setting that grew, and by what. Raises UsageError where it did not grow."""
    refused = UsageError(difference("--extend", key, old, new))
    if key in _LISTS:
        return key, _longer(key, old[key], new[key])
    if key in _COUNTS and new[key] > old[key]:
        return key, f"{old[key]} -> {new[key]}"
    if key == "max_nfe" and (not new[key] or 0 < old[key] < new[key]):
        return key, f"{old[key]} -> {new[key] or 'any'}"
    part, _, name = key.partition(".")
    if part == "arms" and key not in old:
        return "arms", name
    if part == "arms" and key not in new:
        raise UsageError(_taken_away("arms", name))
    if part == "space" and key in old and key in new:
        return name, _wider(name, stored.space[name], asked.space[name], refused)
    if part == "space" and key in new:
        raise UsageError(
            f"--extend cannot add axis {name}: what ran has no value on it; start a new sweep"
        )
    raise refused


def _wider(name: str, old: Axis, new: Axis, refused: UsageError) -> str:
    if isinstance(old, Range) and isinstance(new, Range):
        alike = (old.log, old.integer) == (new.log, new.integer)
        if alike and new.low <= old.low and old.high <= new.high:
            return f"{old} -> {new}"
    elif not isinstance(old, Range) and not isinstance(new, Range):
        return _longer(name, old, new)
    raise refused


def _longer(word: str, old: Sequence[Any], new: Sequence[Any]) -> str:
    if gone := [value for value in old if value not in new]:
        raise UsageError(_taken_away(word, ", ".join(map(value_text, gone))))
    return ", ".join(value_text(value) for value in new if value not in old)


def _taken_away(word: str, what: str) -> str:
    return f"--extend cannot take {word} {what} away: what ran stays; name all that there are"


def _in_order(stored: S, asked: S) -> S:
    """`asked` with everything that was there in front, in the order it had."""
    space = {key: _merged(axis, asked.space[key]) for key, axis in stored.space.items()}
    changes: dict[str, Any] = {
        "tasks": _merged(stored.tasks, asked.tasks),
        "arms": {arm: asked.arms[arm] for arm in dict.fromkeys([*stored.arms, *asked.arms])},
        "space": space,
        "confirm": _with_seeds(stored.confirm, asked.confirm),
    }
    if isinstance(stored, Tune) and isinstance(asked, Tune):
        changes["select"] = _with_seeds(stored.select, asked.select)
    return dataclasses.replace(asked, **changes)


def _with_seeds(stored: Any, asked: Any) -> Any:
    return dataclasses.replace(asked, seeds=_merged(stored.seeds, asked.seeds))


def _merged(old: Any, new: Any) -> Any:
    if isinstance(new, Range):
        return new
    return (*old, *(value for value in new if value not in old))
