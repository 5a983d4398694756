"""What a key of a sweep was given: the text of a word, or a value in a file of settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowpwm.settings_file import Given, located
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.values import parse_range, parse_value


@dataclass(frozen=True)
class Asked:
    """`content` is text as it was typed, or where `place` says a file and line, the file's value.

    The methods raise UsageError or ValueError for what is no such thing.
    """

    content: Any
    place: str = ""

    def value(self) -> Any:
        """A number, word, list or range."""
        return _with_ranges(self.content) if self.place else parse_value(self.content)

    def items(self) -> list[Any]:
        """`a,b` and `[a,b]` alike."""
        content = self.content
        if not self.place and not content.startswith("["):
            content = f"[{content}]"
        value = Asked(content, self.place).value()
        return value if isinstance(value, list) else [value]

    def text(self, key: str) -> str:
        """The text itself, whatever it looks like."""
        if not isinstance(self.content, str):
            raise UsageError(f"{key} must be text, got {self.content!r}")
        return self.content

    def is_empty(self) -> bool:
        """Whether there is nothing after the key."""
        return isinstance(self.content, str) and not self.content.strip()


@contextlib.contextmanager
def places_told(given: Mapping[str, Given]) -> Iterator[None]:
    """Problems with settings that a file gave tell the file and the line."""
    try:
        yield
    except UsageError as error:
        raise UsageError(*(located(line, given) for line in error.lines)) from error


def _with_ranges(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_ranges(item) for item in value]
    return parse_range(value) or value if isinstance(value, str) else value
