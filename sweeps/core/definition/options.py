"""The flags of a command line: how a sweep runs, as opposed to what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowpwm.checks import did_you_mean, wrong_key
from flowpwm.compose import presets
from flowpwm.envs import ENVS
from flowpwm.envs.tasks import TASK_SETS
from flowpwm.settings_file import HELP, Given
from sweeps.core.definition import quantity
from sweeps.core.definition.settings import UsageError


@dataclass(frozen=True)
class Options:
    """How to run, as opposed to what: none of it changes a result.

    `given` is what the files of `config` set, and where, to say so in messages.
    """

    results: Path = Path("results")
    dry_run: bool = False
    resume: Path | None = None
    extend: Path | None = None
    warm_start: Path | None = None
    address: str | None = None
    quiet: bool = False
    yes: bool = False
    no_canary: bool = False
    retry_failed: bool = False
    supervise: bool = False
    time_limit_s: float | None = None
    max_gpu_hours: float | None = None
    max_disk_bytes: int | None = None
    config: tuple[Path, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)
    help: bool = False

    @property
    def folder(self) -> Path | None:
        """The run folder that is gone on in; None for a new one."""
        return self.extend or self.resume


FLAGS = {
    "--config FILE": HELP,
    "--dry-run": "check everything, show the plan, start nothing",
    "--resume PATH": "go on with the sweep in this folder",
    "--extend PATH": "add seeds, arms, tasks, values or trials to the sweep in this folder",
    "--warm-start PATH": "tune with what earlier sweeps in this folder found out",
    "--address HOST:PORT": "use a running Ray cluster ('auto': the one of this machine)",
    "--retry-failed": "with --resume or --extend: failed trials run again from where they were",
    "--supervise": "start the driver again where it is killed, as for memory",
    "--quiet": "only errors and the result; a dry run shows its page",
    "--yes": "do not ask back: 10,000 trials, a disk too small, nodes of other versions are meant",
    "--no-canary": "forecast without a trial run of at most a minute",
    "--time-limit TIME": "save and stop in time, as after 12h or 1h30m; --resume goes on",
    "--max-gpu-hours HOURS": "save and stop when so many GPU-hours are spent",
    "--max-disk SIZE": "save and stop when the run folder has grown to this, as 200GB",
}
FLAG_NAMES = tuple(flag.split()[0] for flag in FLAGS)
#: Where a sweep begins, if it is not from nothing: at most one of these.
BEGINNINGS = ("--resume", "--extend", "--warm-start")
#: Flags without a value, and those with one: the option they set and how it is read.
_SWITCHES = (
    *("--dry-run", "--supervise", "--quiet", "--yes", "--no-canary", "--retry-failed"),
    *("--help", "-h"),
)
_VALUED: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "--config": ("config", lambda name, text: Path(text)),
    "--resume": ("resume", lambda name, text: Path(text)),
    "--extend": ("extend", lambda name, text: Path(text)),
    "--warm-start": ("warm_start", lambda name, text: Path(text)),
    "--address": ("address", lambda name, text: text),
    "--time-limit": ("time_limit_s", quantity.seconds),
    "--max-gpu-hours": ("max_gpu_hours", quantity.hours),
    "--max-disk": ("max_disk_bytes", quantity.size_bytes),
}


def options_of(words: Sequence[str]) -> Options:
    """The flags alone: what the folder of `--resume` holds decides how other words are read."""
    return split(words)[0]


def split(words: Sequence[str]) -> tuple[Options, dict[str, str]]:
    """The flags, and the text of every `key=value` word. Raises UsageError with every problem."""
    options: dict[str, Any] = {}
    assignments: dict[str, str] = {}
    problems: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, text = word.partition("=")
        if not word.isascii() and word != word.encode(errors="replace").decode():
            problems.append(f"{name!r} is followed by bytes that are no text")
        elif name in _SWITCHES:
            options["help" if name == "-h" else name[2:].replace("-", "_")] = True
        elif name in _VALUED:
            text = text if equals else rest.pop(0) if rest else ""
            option, read = _VALUED[name]
            try:
                value = read(name, text) if text else None
            except ValueError as error:
                problems.append(str(error))
                continue
            if value is None:
                problems.append(f"{name} needs a value after it")
            elif option == "config":
                options[option] = (*options.get(option, ()), value)
            else:
                options[option] = value
        elif problem := wrong_key(name):
            problems.append(problem)
            if not equals and rest and "=" not in rest[0]:
                rest.pop(0)  # the secret itself
        elif word.startswith("-") or not equals or not name:
            hint = _as_setting(word) or did_you_mean(name, FLAG_NAMES)
            problems.append(f"unknown word {word!r}; use key=value.{hint}")
        elif name in assignments:
            problems.append(f"{name} is given twice: {assignments[name]!r} and {text!r}")
        else:
            assignments[name] = text
    kinds = [flag for flag in BEGINNINGS if flag[2:].replace("-", "_") in options]
    if len(kinds) > 1:
        problems.append(f"{' and '.join(kinds)} exclude each other")
    if options.get("retry_failed") and not options.keys() & {"resume", "extend"}:
        problems.append("--retry-failed needs --resume PATH or --extend PATH")
    if problems:
        raise UsageError(*problems)
    return Options(**options), assignments


def _as_setting(word: str) -> str:
    """A hint where the word is one that `python -m flowpwm train` takes as it is."""
    if word not in presets():
        return ""
    return f" Did you mean '{'task' if word in (*ENVS, *TASK_SETS) else 'preset'}={word}'?"
