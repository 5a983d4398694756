"""Reads the text log of one PWM training: its progress lines, its evaluations, how it ended.

Logs are found in every state: cut short, with carriage returns, with two processes writing into
each other's lines, with bytes that are no text. What cannot be read is counted, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Where the figures of a progress line go; of `a/b` the first counts.
COLUMNS = {
    "R": "train/episode_return",
    "H": "train/episode_length",
    "FPS": "rate/env_steps_per_s",
    "pi_loss": "loss/actor",
    "pi_grad": "grad/actor",
    "v_loss": "loss/critic",
    "wm_loss": "loss/world_model",
    "rew_loss": "loss/reward",
    "dyn_loss": "loss/dynamics",
    "AL": "loss/actor",
    "VL": "loss/critic",
    "WML": "loss/world_model",
}
#: What a whole progress line has, of a single task and of several.
SINGLE = frozenset({"R", "T", "H", "S", "FPS", "pi_loss", "v_loss", "wm_loss", "dyn_loss"})
SEVERAL = frozenset({"AL", "VL", "WML"})
#: (failure class, what the log says then), the first that is found counts; "" is no failure.
ENDS = (
    ("oom_host", re.compile(r"slurmstepd: error: Detected \d+ oom.kill event|oom-kill event")),
    ("oom_gpu", re.compile(r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory")),
    ("storage", re.compile(r"\[Errno 28\]|No space left on device")),
    ("error", re.compile(r"MissingMandatoryValue\b.*")),
    ("cancelled", re.compile(r"CANCELLED AT .*")),
    ("error", re.compile(r"^\w[\w.]*(?:Error|Exception): .*", re.MULTILINE)),
)
#: How remarks begin that say that a log does not agree with itself.
CONTRADICTION = "contradiction: "
_AT = re.compile(r"\[(\d+)/(\d+)\]")
_FIGURE = r"(?:[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))"
_PAIR = re.compile(rf"\b(\w+): ?({_FIGURE})(?:/{_FIGURE})?(?=\s|$)")
_EVALUATION = re.compile(rf"^R: ({_FIGURE})$")
_FINAL = re.compile(rf"^Final reward: ({_FIGURE})$")
_SEED = re.compile(r"^\s*(?:general\.)?seed[:=]\s*(\d+)\s*$", re.MULTILINE)
_NAME = re.compile(r"train_(?P<size>[^_]+)_(?P<variant>.+)_(?P<job>\d+)(?:_\d+)?$")


@dataclass
class PwmLog:
    """What a log says. Rows are by epoch, those of a run that began again counted anew."""

    path: Path
    size: str = ""
    variant: str = ""
    job_id: str = ""
    seed: int | None = None
    several_tasks: bool = False
    epochs: int = 0  # N of [n/N]
    attempts: list[dict[int, dict[str, float]]] = field(default_factory=list)
    evaluations: list[dict[int, float]] = field(
        default_factory=list
    )  # of several tasks, by attempt
    final: float | None = None
    status: str = "interrupted"  # completed | failed | cancelled | interrupted
    failure_class: str = ""
    message: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def epochs_done(self) -> int:
        """The last epoch that it tells of."""
        return max(self.attempts[-1], default=0) if self.attempts else 0


def read_pwm_log(path: Path) -> PwmLog:
    """One log. Raises OSError where it cannot be read; an empty or strange file has no rows."""
    raw = path.read_bytes()
    text = raw.decode("utf-8", errors="replace")
    log = PwmLog(path)
    if name := _NAME.match(path.stem):
        log.size, log.variant, log.job_id = name["size"], name["variant"], name["job"]
    if found := _SEED.search(text):
        log.seed = int(found[1])
    pieces = re.split(r"[\r\n]+", text)
    broken = 0
    for number, piece in enumerate(pieces):
        # Without an end of line the last piece may have lost digits of its last figure.
        cut = number == len(pieces) - 1 and not text.endswith(("\n", "\r"))
        broken += not _take(log, piece.strip(), cut=cut)
    if broken:
        log.remarks.append(f"{broken} progress lines could not be read")
    if "\ufffd" in text:
        log.remarks.append("holds bytes that are no text")
    _end(log, text)
    return log


def _take(log: PwmLog, line: str, *, cut: bool) -> bool:
    """Take a line in; False for a progress line that is not whole."""
    if found := _EVALUATION.match(line):
        if not cut:
            log.several_tasks = True
            _attempt(log)
            log.evaluations[-1][log.epochs_done] = float(found[1])
        return True
    if found := _FINAL.match(line):
        log.final = None if cut else float(found[1])
        return True
    at = _AT.search(line)
    if at is None:
        return True
    rest = line[at.end() :]
    pairs = dict(_PAIR.findall(rest))
    several = pairs.keys() >= SEVERAL
    if cut or _AT.search(rest) or not (several or pairs.keys() >= SINGLE):
        return False
    epoch, log.epochs = int(at[1]), int(at[2])
    _attempt(log)
    if log.attempts[-1] and epoch <= max(log.attempts[-1]):
        log.attempts.append({})
        log.evaluations.append({})
    row = {COLUMNS[key]: float(text) for key, text in pairs.items() if key in COLUMNS}
    if "S" in pairs:
        row["env_steps"] = float(pairs["S"])
    log.several_tasks = log.several_tasks or several
    log.attempts[-1][epoch] = row
    return True


def _attempt(log: PwmLog) -> None:
    if not log.attempts:
        log.attempts.append({})
        log.evaluations.append({})


def _end(log: PwmLog, text: str) -> None:
    """How it ended, by what the log says and not by what it lacks."""
    whole = log.epochs > 0 and log.epochs_done >= log.epochs
    kind, message = next(
        ((kind, found[0].strip()) for kind, mark in ENDS if (found := mark.search(text))), ("", "")
    )
    log.message = message
    if whole or log.final is not None:
        log.status = "completed"
        if kind:
            log.remarks.append(f"{CONTRADICTION}reached its end and yet says: {message}")
        if not whole and log.epochs:
            told = f"a final score at epoch {log.epochs_done} of {log.epochs}"
            log.remarks.append(f"{CONTRADICTION}{told}")
    elif kind == "cancelled":
        log.status = "cancelled"
    elif kind:
        log.status, log.failure_class = "failed", kind
    else:
        log.message = f"the log ends at epoch {log.epochs_done} of {log.epochs} without a reason"
        log.remarks.append(log.message)


def returns_of(log: PwmLog) -> list[Mapping[int, float]]:
    """By attempt the returns that count as evaluations: of several tasks the deterministic ones,
    of a single one the running mean over training episodes; NaN before the first has ended."""
    if log.several_tasks:
        return list(log.evaluations)
    name = COLUMNS["R"]
    return [
        {epoch: row[name] for epoch, row in rows.items() if not math.isnan(row[name])}
        for rows in log.attempts
    ]
