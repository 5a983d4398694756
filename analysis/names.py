"""One clear line for names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The caller asked for something that is not there; the message is one line for the user."""


def unknown(what: str, name: object, choices: Iterable[object]) -> InputError:
    """The error for a `name` that is none of `choices`, nearest choices first."""
    known = sorted({str(choice) for choice in choices})
    if not known:
        return InputError(f"unknown {what} {str(name)!r}; this sweep has none")
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return InputError(f"unknown {what} {str(name)!r}; {hint}known: {shown}")


def check(what: str, name: object, choices: Iterable[object]) -> None:
    """Raise `InputError` unless `name` is one of `choices`."""
    choices = list(choices)
    if name not in choices:
        raise unknown(what, name, choices)
