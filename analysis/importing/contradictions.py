"""Where a log and the records kept of it by hand do not agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from analysis.importing.pwm_log import CONTRADICTION, PwmLog, returns_of
from analysis.importing.registry_table import Entry

#: How far two figures that should be the same may lie apart: people round.
SAME = 0.05


def disagreements(log: PwmLog, told: list[Entry]) -> list[str]:
    """Where the registry and the log differ, or the registry from itself."""
    lines = list(in_itself(told))
    for entry in told:
        if entry.statuses and log.status.upper() not in (*entry.statuses, "COMPLETED"):
            said, reached = ", ".join(entry.statuses), f"{log.epochs_done:,} of {log.epochs:,}"
            lines.append(f"the registry says {said}, the log {log.status} at epoch {reached}")
        elif "FAILED" in entry.statuses and log.status == "completed":
            lines.append("the registry says FAILED, the log that it reached its end")
        lines += _other_figures(log, entry)
    finals = {text for entry in told if (text := entry.fields.get("final"))}
    returns = returns_of(log)
    last = [value for _, value in sorted(returns[-1].items())][-10:] if returns else []
    for number in sorted(x for text in finals if (x := number_in(text)) is not None):
        mean = sum(last) / len(last) if last else math.nan
        if abs(number - mean) > SAME * max(abs(number), abs(mean), 1.0):
            lines.append(f"the registry says a final score of {number:g}, the log {mean:g}")
    return [f"{CONTRADICTION}{line}" for line in dict.fromkeys(lines)]


def _other_figures(log: PwmLog, entry: Entry) -> Iterator[str]:
    """Where a row of the registry has another seed, length or peak than the log."""
    returns = [value for attempt in returns_of(log) for value in attempt.values()]
    for name, own in (
        ("seed", log.seed),
        ("epochs", log.epochs or None),
        ("peak", max(returns, default=None)),
    ):
        said = number_in(entry.fields.get(name, ""))
        if said is None or own is None:
            continue
        if abs(said - own) > (SAME * max(abs(said), abs(own)) if name == "peak" else 0.0):
            yield f"the registry says {name} {said:g}, the log {own:g}"


def in_itself(told: list[Entry]) -> Iterator[str]:
    """Where the rows of one job differ from each other."""
    statuses = dict.fromkeys(status for entry in told for status in entry.statuses)
    settled = [s for s in statuses if s in ("COMPLETED", "FAILED", "CANCELLED")]
    if len(settled) > 1:
        yield f"the registry says {' and '.join(settled)} of one job"
    finals = sorted({text for entry in told if (text := entry.fields.get("final"))})
    if len(finals) > 1:
        yield f"the registry says final scores of {' and '.join(finals)}"
    years = sorted({year for entry in told for year in entry.years})
    if len(years) > 1:
        yield f"the registry has dates of {' and '.join(years)} for one job"


def number_in(text: str) -> float | None:
    """The first number of a text; None without one."""
    found = re.search(r"[-+]?\d[\d,]*\.?\d*", text)
    return float(found[0].replace(",", "")) if found else None
