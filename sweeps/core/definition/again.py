"""The command line that goes on with a sweep, made from the one that began it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

CONFIG, WARM_START = "--config", "--warm-start"
SUPERVISE = "--supervise"
#: The variable by which a driver knows that a supervisor started it.
SUPERVISED = "FLOWPWM_SUPERVISED"
BEGUN = ("--resume", "--extend")


def results_of(words: Iterable[str]) -> Path:
    """The results folder that a command line asks for."""
    found = [word.partition("=")[2] for word in words if word.startswith("results=")]
    return Path(found[0] if found else "results")


def value_of(words: Sequence[str], flag: str) -> str:
    """The value that a flag is given last, in either form; '' where it is not."""
    found = ""
    for before, word in itertools.pairwise(["", *words]):
        name, _, text = word.partition("=")
        found = word if before == flag else text if name == flag else found
    return found


def command_of(sweep: str, folder: Path, flags: Iterable[str]) -> str:
    """The command that goes on with a sweep in its folder, supervised where this driver is."""
    supervised = [SUPERVISE] if os.environ.get(SUPERVISED) else []
    return " ".join([f"python sweeps/{sweep}.py --resume {folder}", *flags, *supervised])


def going_on(words: Sequence[str], folder: Path) -> list[str]:
    """The words that go on in the run folder `folder`, which these words began.

    The folder holds the settings; said again they could only differ, also those of files. Flags
    and their values are how to run. A command that goes on by itself stays as it is.
    """
    if any(word.partition("=")[0] in BEGUN for word in words):
        return list(words)
    kept = [
        word
        for before, word in itertools.pairwise(["", *words])
        if (word.startswith("-") or "=" not in word)
        and not {CONFIG, WARM_START} & {before, word.partition("=")[0]}
    ]
    return [*kept, "--resume", str(folder)]
