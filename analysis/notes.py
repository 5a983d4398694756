"""Notes on a sweep or on one of its trials: appended to its events, also while it runs."""

from __future__ import annotations

from pathlib import Path

from analysis.load import locate, trials_of
from analysis.names import InputError, check
from sweeps.core.store.events import NOTE_WRITER, EventLog, fold, read_events


def note(path: str | Path, text: str, trial_id: str | None = None) -> Path:
    """Append a note to the run that `path` means, on a trial or on all of it; return its folder.

    The text is kept as it is, line breaks included; a byte that was no UTF-8 becomes U+FFFD. It
    changes no state, and goes to an event file of its own: a running sweep is not disturbed.

    Raises:
        InputError: no such run or trial, or no text.
        OSError: the folder cannot be written.
    """
    folder = locate(path)
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    known = _trial_ids(folder)
    if trial_id is not None:
        check("trial", trial_id, known)
    elif text in known:
        raise InputError(f"a note on trial {text} needs a text after its id")
    if not text.strip():
        raise InputError("a note needs a text")
    with EventLog(folder, NOTE_WRITER) as log:
        log.append("note", trial_id, text=text)
    return folder


def _trial_ids(folder: Path) -> list[str]:
    """Of the events, or of the tables where they are all that was kept."""
    found = list(fold(read_events(folder, heartbeats=1)).trials)
    return found or [str(trial_id) for trial_id in trials_of(folder)["trial_id"]]
