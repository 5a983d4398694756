"""Values as they are typed on a command line: numbers, words, lists, numeric ranges."""

from __future__ import annotations

import re
from typing import Any

from flowpwm.scalars import parse_scalar
from sweeps.core.definition.axes import Range

_RANGE = re.compile(r"(uniform|loguniform|int)\((.*)\)")


def parse_value(text: str) -> Any:
    """The value of `text`: bool, int, float, None, Range, list of these, or else a word.

    Nothing is evaluated. Raises ValueError for brackets that do not close and malformed ranges.
    """
    text = text.strip()
    if text.startswith("["):
        return _parse_list(text)
    if (found := parse_range(text)) is not None:
        return found
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return parse_scalar(text)


def _parse_list(text: str) -> list[Any]:
    if not text.endswith("]"):
        raise ValueError(f"{text!r} opens a list with '[' that no ']' closes")
    items, depth, start = [], 0, 1
    for i, char in enumerate(text[1:-1], start=1):
        depth += (char in "[(") - (char in "])")
        if depth < 0:
            raise ValueError(f"{text!r} closes a bracket that it does not open")
        if char == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    if depth:
        raise ValueError(f"{text!r} opens a bracket that it does not close")
    rest = text[start:-1]
    if rest.strip():
        items.append(rest)
    return [parse_value(item) for item in items]


def parse_range(text: str) -> Range | None:
    """The range that `text` is, such as `uniform(1, 8)`; None if it is something else.

    Raises ValueError for a malformed one.
    """
    match = _RANGE.fullmatch(text)
    return match and _checked_range(text, match[1], match[2])


def _checked_range(text: str, kind: str, arguments: str) -> Range:
    bounds = [parse_value(part) for part in arguments.split(",")]
    numbers = [b for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool)]
    if len(bounds) != 2 or len(numbers) != 2:
        raise ValueError(f"{text!r} needs two numbers, as in {kind}(1, 8)")
    low, high = numbers
    if not low < high < float("inf"):
        raise ValueError(f"{text!r} needs its first bound below its second, both finite")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"{text!r} needs bounds above 0, its values are spread geometrically")
    if any(isinstance(bound, int) and abs(bound) >= 2**63 for bound in numbers):
        raise ValueError(f"{text!r} needs bounds below 2**63")
    if kind == "int" and not all(isinstance(bound, int) for bound in numbers):
        raise ValueError(f"{text!r} needs whole numbers as bounds")
    return Range(low, high, log=kind == "loguniform", integer=kind == "int")
