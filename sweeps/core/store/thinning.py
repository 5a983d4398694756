"""Passing over heartbeats without decoding them: each says all that the one before it said."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEAD = re.compile(
    rb'\{"schema":\d+,"writer":"[^"]*","seq":\d+,"time":"[^"]*",'
    rb'"event":"(\w+)","trial_id":(?:null|"([^"]*)")'
)


def thinned(lines: Sequence[bytes], most: int) -> list[bytes]:
    """The lines of an event file without most of its `progress` events.

    Of those of one trial between two others of its events, at most `most` stay, evenly spaced, the
    last one among them. Lines of any other form stay all.
    """
    kept: list[int] = []
    beats: dict[bytes | None, list[int]] = {}
    for number, line in enumerate(lines):
        head = _HEAD.match(line)
        if head is None:
            kept.append(number)
            continue
        event, trial_id = head.groups()
        if event == b"progress" and trial_id is not None:
            beats.setdefault(trial_id, []).append(number)
            continue
        if (before := beats.pop(trial_id, None)) is not None:
            kept += spread(before, most)
        kept.append(number)
    for rest in beats.values():
        kept += spread(rest, most)
    return [lines[number] for number in sorted(kept)]


def spread(items: Sequence[int], most: int) -> list[int]:
    """At most `most` of the items, evenly spaced, the last one among them."""
    if len(items) <= most:
        return list(items)
    step = len(items) / most
    return [items[round((i + 1) * step) - 1] for i in range(most)]
