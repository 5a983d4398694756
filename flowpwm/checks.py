"""Argument checks in one form: a line that names the field, its value and what is allowed."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable

_SECRET_NAME = re.compile(
    r"(?i)(^|[^a-z])(api_?)?(key|token|secret|passw\w*|credentials?)($|[^a-z])|apikey"
)


class ConfigError(ValueError):
    """A configuration that cannot run; the message is one line meant for the user."""


def looks_secret(name: str) -> bool:
    """Whether a key is named like a secret, whose value is never shown nor kept."""
    return bool(_SECRET_NAME.search(name))


def wrong_key(name: str) -> str:
    """Why nobody may set this key, '' if it is one that there could be."""
    if not name.isprintable():
        return f"{name!r} is no key: keys are words"
    if looks_secret(name):
        return f"{name} looks like a secret: secrets come from the environment only"
    return ""


def refuse_wrong_key(name: str) -> None:
    """Refuse a key that cannot be one, or is named like a secret."""
    if problem := wrong_key(name):
        raise ConfigError(problem)


def without_secrets(text: str) -> str:
    """`text` with what follows the name of a secret, after '=' or a blank, struck out."""
    shown: list[str] = []
    hide = False
    for word in text.split(" "):
        name, equals, _ = word.partition("=")
        secret = looks_secret(name)
        shown.append("***" if hide else f"{name}=***" if secret and equals else word)
        hide = secret and not equals
    return " ".join(shown)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' where a known name is close, else an empty string."""
    spelt = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), spelt, n=1)
    return f" Did you mean {spelt[close[0]]!r}?" if close else ""


def at_least(field: str, value: float, low: float) -> None:
    """Refuse a value below `low` or not finite."""
    if not (math.isfinite(value) and value >= low):
        raise ConfigError(f"{field} must be at least {low}, got {value}")


def positive(field: str, value: float) -> None:
    """Refuse 0, negative and non-finite values."""
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{field} must be positive and finite, got {value}")


def within(field: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside [low, high]; NaN is outside."""
    if not low <= value <= high:
        raise ConfigError(f"{field} must lie in [{low}, {high}], got {value}")


def one_of(field: str, value: object, known: Collection[str]) -> None:
    """Refuse a name that is not among the known ones, with the closest of them."""
    if not isinstance(value, str) or value not in known:
        hint = did_you_mean(str(value), known)
        raise ConfigError(f"unknown {field} {value!r}; known: {', '.join(known)}.{hint}")


def layer_sizes(field: str, value: Iterable[int]) -> tuple[int, ...]:
    """The sizes as a tuple; at least one layer, every size at least 1."""
    sizes = tuple(value)
    if not sizes or min(sizes) < 1:
        raise ConfigError(f"{field} needs at least one layer of at least 1 unit, got {list(sizes)}")
    return sizes
