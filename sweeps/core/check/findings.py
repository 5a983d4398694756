"""What the lint of a sweep says: a rule and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Finding:
    """Something that weakens a sweep, or what it can say; nothing that keeps it from running."""

    rule: str
    text: str
    level: str = "warn"

    def __str__(self) -> str:
        return f"{self.level.upper()} {self.rule}: {self.text}"

    def to_dict(self) -> dict[str, str]:
        """For `lint.json`."""
        return asdict(self)


def listed(names: Sequence[str], most: int) -> str:
    """ "a, b and c"; of more than `most` the first of them, and how many others there are."""
    rest = len(names) - most
    shown = [*names[:most], f"{rest} more"] if rest > 0 else list(names)
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
