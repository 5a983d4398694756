"""Secrets of the environment, which nothing that we write may show."""

from __future__ import annotations

import os
from collections.abc import Mapping

from flowpwm.checks import looks_secret

#: Shorter values are words that a text may hold for other reasons.
LEAST_LENGTH = 8
HIDDEN = "***"
#: What such a variable names is no secret.
_PLACES = ("_PATH", "_FILE", "_DIR")


def values(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The secrets that variables hold, the longest first: one may be a part of another."""
    found = {
        value
        for name, value in environment.items()
        if looks_secret(name) and not name.upper().endswith(_PLACES) and len(value) >= LEAST_LENGTH
    }
    return sorted(found, key=len, reverse=True)


def struck_out(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the secrets of the environment, such as an exception may quote."""
    for value in values(environment):
        text = text.replace(value, HIDDEN)
    return text
