"""Parts of the terminal's pages as text: how trials stand, what failed, how to go on."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sweeps.core.definition.sweep import Sweep
from sweeps.core.store.state import TrialRecord

WIDTH = 100
LABEL = 11


def row(label: str, text: str, indent: int = 0) -> str:
    """A labelled paragraph of the page; its later lines are indented by `indent` more."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=" " * (LABEL + indent),
        break_long_words=False,
        break_on_hyphens=False,
    )


def command(label: str, text: str) -> str:
    """A labelled line to be copied: it is never broken."""
    return f"{label.ljust(LABEL)}{text}"


def seeds_text(seeds: Sequence[int]) -> str:
    """1000-1009 where they follow each other, else 42, 7, 1000."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))


def counts(trials: Iterable[TrialRecord]) -> str:
    """How many trials are how; causes of failures in brackets."""
    trials = list(trials)
    by_status = Counter(trial.status.lower() for trial in trials)
    parts = [f"{number} {status}" for status, number in sorted(by_status.items())]
    causes = Counter(t.failure_class for t in trials if t.status == "FAILED")
    if causes:
        parts.append("(" + ", ".join(f"{cause} {n}" for cause, n in sorted(causes.items())) + ")")
    return f"{len(trials)} trials: {', '.join(parts) or 'none'}"


def failures(trials: Sequence[TrialRecord], most: int = 5) -> list[str]:
    """A line for each failed trial: class, last line of the error, log."""
    failed = [t for t in trials if t.status == "FAILED"]
    lines = [
        f"FAIL {t.trial_id} {t.failure_class} at epoch {t.epochs_done}: {t.failure_message} "
        f"(log: {t.log_path or 'none'})"
        for t in failed[:most]
    ]
    return lines + ([f"... and {len(failed) - most} more"] if len(failed) > most else [])


def tracked(sweep: Sweep, folder: Path, shown: Path) -> list[str]:
    """How to see what trackers wrote into `folder`, which is called `shown`."""
    lines = []
    offline = sum(1 for _ in (folder / "wandb").glob("offline-run-*"))
    if "wandb" in sweep.trackers and offline:
        runs = "1 offline run is" if offline == 1 else f"{offline} offline runs are"
        lines.append(row("wandb", f"{runs} here only; wandb sync {shown}/wandb/offline-run-*"))
    if "tensorboard" in sweep.trackers:
        lines.append(command("events", f"tensorboard --logdir {shown}/tensorboard"))
    return lines


def interrupted_page(sweep: Sweep, cause: str, trials: Sequence[TrialRecord], go_on: str) -> str:
    """What was reached and the command that goes on."""
    done = sum(trial.final for trial in trials)
    return "\n".join(
        [
            f"{sweep.name} interrupted by {cause}: {done} trials finished, all is saved",
            command("go on", go_on),
        ]
    )
