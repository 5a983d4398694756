"""Beginning a run folder, or going on in one: the spec it was started with, and its events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sweeps.core.check.findings import Finding
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.spec.settings import UsageError
from sweeps.core.spec.sweep import Sweep
from sweeps.core.store.durable import write_atomic
from sweeps.core.store.events import EventLog, read_events

S = TypeVar("S", bound=Sweep)
SPEC = "sweep.yaml"
ENVIRONMENT = "environment.json"
LINT = "lint.json"


def stored_sweep(sweep: S, folder: Path | None) -> S:
    """The sweep that `folder` was started with, or `sweep` itself for a new one.

    Raises UsageError if the folder holds no sweep of this name.
    """
    if folder is None:
        return sweep
    path = folder / SPEC
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        if plain["name"] != sweep.name:
            raise UsageError(
                f"--resume {folder}: this is a sweep {plain['name']!r}; "
                f"use sweeps/{plain['name']}.py"
            )
        return type(sweep).from_dict(plain)
    except OSError as error:
        raise UsageError(f"--resume {folder}: no sweep there ({error.strerror}: {path})") from error
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        raise UsageError(f"--resume {folder}: {path} cannot be read ({cause})") from error


def refuse_changes(stored: Sweep, asked: Sweep) -> None:
    """Raise UsageError with a line for every setting that a resume would change."""
    old, new = flat(stored.to_dict()), flat(asked.to_dict())
    changed = [
        f"--resume cannot change {key}: {old.get(key)!r} then, {new.get(key)!r} now; "
        "start a new sweep for that"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changed:
        raise UsageError(*changed)


def open_run(
    folder: Path,
    log: EventLog,
    sweep: Sweep,
    environment: Mapping[str, Any],
    findings: Iterable[Finding] = (),
) -> tuple[Recorder, str]:
    """The recorder over all events so far, and a warning ('' if there is nothing to warn of).

    In a new folder the spec, the environment and the findings of the lint are written first.
    """
    (folder / "stop").unlink(missing_ok=True)
    if not (folder / SPEC).exists():
        write_atomic(folder / SPEC, yaml.safe_dump(sweep.to_dict(), sort_keys=False).encode())
        write_atomic(folder / ENVIRONMENT, json.dumps(dict(environment), indent=1).encode())
        found = [finding.to_dict() for finding in findings]
        write_atomic(folder / LINT, json.dumps({"findings": found}, indent=1).encode())
        log.append("sweep_started", spec=sweep.to_dict(), trials=sweep.planned_trials())
        return Recorder(log, read_events(folder)), ""
    warning = _changed_code(folder, environment)
    log.append("resumed", git=environment.get("git"), job=environment.get("job"))
    return Recorder(log, read_events(folder)), warning


def _changed_code(folder: Path, environment: Mapping[str, Any]) -> str:
    try:
        before = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "the environment that this sweep was started in is not known"
    changed = [
        f"{key} {before.get(key)} then, {environment.get(key)} now"
        for key in ("git", "python", "packages")
        if before.get(key) != environment.get(key)
    ]
    return "WARN the code has changed since the start: " + "; ".join(changed) if changed else ""


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        # The keys of a space are dotted themselves: its axes are compared whole.
        if isinstance(value, Mapping) and prefix != "space.":
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
