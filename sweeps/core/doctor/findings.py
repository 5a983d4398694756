"""What a check of a machine found: a line, how bad it is, and what to do about it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor; `todo` says what to do where `level` is not ok."""

    level: Level
    check: str
    message: str
    todo: str = ""


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding("ok", check, message)


def warn(check: str, message: str, todo: str) -> Finding:
    """A sweep runs, but something is slower, smaller or less safe than it could be."""
    return Finding("warn", check, message, todo)


def fail(check: str, message: str, todo: str) -> Finding:
    """A sweep would not run, or not safely."""
    return Finding("fail", check, message, todo)


def guarded(check: Callable[..., Iterator[Finding]]) -> Callable[..., list[Finding]]:
    """The findings of `check`; if it breaks, that is a finding too and the others still run."""

    @functools.wraps(check)
    def run(*args: object) -> list[Finding]:
        found: list[Finding] = []
        try:
            found.extend(check(*args))
        except Exception as error:  # noqa: BLE001 - on a broken machine anything can break
            name = check.__name__.removeprefix("check_")
            message = f"could not be checked: {type(error).__name__}: {error}"
            found.append(fail(name, message, "mend what the other lines say first"))
        return found

    return run
