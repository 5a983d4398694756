"""Reads experiment registries that people keep by hand: Markdown tables with a row a run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: What a column is, by words that its heading holds; the first that fits counts.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "job_id": ("job id", "job", "slurm"),
    "status": ("status", "state"),
    "task": ("task", "environment", "env"),
    "seed": ("seed",),
    "epochs": ("epochs", "epoch"),
    "runtime": ("runtime", "duration", "time"),
    "gpu": ("gpu", "hardware", "machine"),
    "final": ("final", "last-100", "last 100", "return", "reward"),
    "peak": ("peak", "best"),
    "notes": ("notes", "outcome", "remark", "description", "cause"),
    "experiment": ("experiment", "run", "name", "model", "variant", "config"),
}
STATUSES = ("PENDING", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "EVALUATED")
_RULE = re.compile(r"^\|?\s*:?-{1,}:?\s*(\|\s*:?-{1,}:?\s*)*\|?$")
_DAY = re.compile(r"\b(20\d\d)-\d\d-\d\d\b")


@dataclass(frozen=True)
class Entry:
    """A row: its known fields as text, and where it stands."""

    fields: Mapping[str, str]
    heading: str
    line: int
    path: Path

    @property
    def statuses(self) -> list[str]:
        """Every status that it names; more than one contradict each other."""
        told = self.fields.get("status", "").upper()
        return [status for status in STATUSES if status in told]

    @property
    def years(self) -> set[str]:
        """The years of the dates in it."""
        return set(_DAY.findall(" ".join([self.heading, *self.fields.values()])))


def read_registry(path: Path) -> list[Entry]:
    """The rows of every table of a Markdown file that has a column of jobs or of statuses."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return list(_entries(path, text.splitlines()))


def _entries(path: Path, lines: list[str]) -> Iterator[Entry]:
    heading, names = "", []
    for number, line in enumerate(lines, start=1):
        bare = line.strip()
        if bare.startswith("#"):
            heading, names = bare.lstrip("#").strip(), []
        elif "|" not in bare:
            names = []
        elif _RULE.match(bare):
            names = _fields(_cells(lines[number - 2])) if number > 1 else []
        elif names:
            fields = {
                name: cell for name, cell in zip(names, _cells(bare), strict=False) if name and cell
            }
            if fields:
                yield Entry(fields, heading, number, path)


def _cells(line: str) -> list[str]:
    bare = line.strip().strip("|")
    cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", bare)]
    return [re.sub(r"[*`_]{1,2}(.+?)[*`_]{1,2}", r"\1", cell) for cell in cells]


def _fields(headings: list[str]) -> list[str]:
    """The field of every column, else its heading; nothing for another kind of table."""
    found: list[str] = []
    for heading in headings:
        low = heading.lower()
        fitting = (name for name, words in FIELDS.items() if any(word in low for word in words))
        found.append(next((name for name in fitting if name not in found), low))
    return found if {"job_id", "status"} & set(found) else []
