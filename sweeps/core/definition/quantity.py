"""Amounts with units as people type and read them: `90m`, `1h30m`, `200GB`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgt]i?b)")


def seconds(name: str, text: str) -> float:
    """The seconds of `12h`, `1h30m` or `90m`. Raises ValueError, also for a bare number."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{name} must be a time such as 12h, 1h30m or 90m, got {text!r}")
    return _positive(name, text, sum(float(number) * _SECONDS[unit] for number, unit in parts))


def size_bytes(name: str, text: str) -> int:
    """The bytes of `200GB` or `1.5 TiB`. Raises ValueError, also for a bare number."""
    match = _SIZE.fullmatch(text.lower())
    if match is None:
        raise ValueError(f"{name} must be a size such as 200GB or 1.5TiB, got {text!r}")
    return int(_positive(name, text, float(match[1]) * _BYTES[match[2]]))


def hours(name: str, text: str) -> float:
    """A plain number of hours. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a number of hours above 0, got {text!r}")
    return value


def _positive(name: str, text: str, value: float) -> float:
    if value <= 0:
        raise ValueError(f"{name} must be more than nothing, got {text!r}")
    return value


def duration(seconds: float) -> str:
    """7 s, 1m30s, 12m, 3h05m."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    if round(seconds) < 600:
        whole, rest = divmod(round(seconds), 60)
        return f"{whole}m{rest:02d}s" if rest else f"{whole}m"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def hours_text(hours: float) -> str:
    """Two digits, or whole hours."""
    return f"{hours:.2g}" if hours < 99.5 else f"{hours:,.0f}"
