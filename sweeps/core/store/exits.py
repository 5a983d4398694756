"""What an attempt said of its end where its process could not return it: a file beside its log.

The driver hears of a process that is gone only that it is; the file has the cause and how far the
attempt was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.core.store.durable import write_atomic


def write_exit(folder: Path, trial_id: str, attempt: int, result: Mapping[str, Any]) -> None:
    """Leave the last result of an attempt in the run folder `folder`. Raises OSError."""
    path = folder / "logs" / f"{trial_id}-{attempt:03d}.exit.json"
    write_atomic(path, json.dumps(dict(result)).encode())


def read_exit(folder: Path, trial_id: str) -> dict[str, Any] | None:
    """What the newest attempt that left anything said; None without one, or where it is damaged."""
    name = re.compile(re.escape(trial_id) + r"-(\d+)\.exit\.json")
    matches = [(name.fullmatch(path.name), path) for path in (folder / "logs").glob("*.exit.json")]
    found = [(int(match[1]), path) for match, path in matches if match]
    if not found:
        return None
    try:
        return json.loads(max(found)[1].read_bytes())
    except (OSError, ValueError):
        return None
