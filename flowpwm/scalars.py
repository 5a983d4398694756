"""Words that mean a number, a truth value or nothing: the same in a file and on a command line."""

from __future__ import annotations

import re

_INTEGER = re.compile(r"[+-]?\d+(_\d+)*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
_WORDS = {"true": True, "false": False, "null": None}  # "none" names an option
_MOST_DIGITS = 400  # beyond any float; Python itself refuses more than 4300


def parse_scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted word means; unlike in YAML 1.1, 1e-4 is a number, and off, 012 and 16:30 are
    not something else than they seem.

    Raises ValueError for a number of more digits than any setting has.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) > _MOST_DIGITS and _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:10]}... is a number of {len(text)} digits")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text
