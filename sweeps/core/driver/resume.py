"""Beginning a run folder, or going on in one: the spec it was started with, and its events.

An extension keeps the spec as it was in `sweep-<n>.yaml`, then replaces `sweep.yaml`, then is told
of in an event. `sweep.yaml` is what counts: whoever comes after a crash in between tells of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sweeps.core.check.findings import Finding
from sweeps.core.definition.growth import FREE, NothingAdded, difference, flat, grow
from sweeps.core.definition.options import Options
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.durable import write_atomic
from sweeps.core.store.events import EventLog, fold, read_events
from sweeps.core.store.state import SweepState

S = TypeVar("S", bound=Sweep)
SPEC, EARLIER_SPEC = "sweep.yaml", "sweep-{}.yaml"
ENVIRONMENT = "environment.json"
LINT = "lint.json"


def stored_sweep(sweep: S, options: Options) -> S:
    """The sweep of the folder that is gone on in, or `sweep` itself for a new one.

    Raises UsageError if the folder holds no sweep of this name.
    """
    folder = options.folder
    if folder is None:
        return sweep
    flag, path = _flag(options), folder / SPEC
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        if plain["name"] != sweep.name:
            raise UsageError(
                f"{flag} {folder}: this is a sweep {plain['name']!r}; use sweeps/{plain['name']}.py"
            )
        return type(sweep).from_dict(plain)
    except OSError as error:
        raise UsageError(f"{flag} {folder}: no sweep there ({error.strerror}: {path})") from error
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, ValueError) as error:
        cause = str(error).strip().splitlines()[0]
        raise UsageError(f"{flag} {folder}: {path} cannot be read ({cause})") from error


def stored_state(options: Options) -> SweepState:
    """How far the sweep of that folder has come.

    Raises UsageError where its events cannot be read: all that ran would run again.
    """
    assert options.folder is not None
    flag, events = _flag(options), options.folder / "events"
    if not events.is_dir():
        raise UsageError(f"{flag} {options.folder}: {events} is missing: what ran is not known")
    try:
        return fold(read_events(options.folder, heartbeats=1))
    except OSError as error:
        raise UsageError(f"{flag} {options.folder}: {error}") from error


def _flag(options: Options) -> str:
    return "--resume" if options.extend is None else "--extend"


def refuse_changes(stored: Sweep, asked: Sweep) -> None:
    """Raise UsageError with a line for every setting that a resume would change.

    What trials may hold of a machine is free: it changes no result, and machines differ.
    """
    old, new = flat(stored.to_dict()), flat(asked.to_dict())
    changed = [
        difference(
            "--resume", key, old, new, "--extend adds to a sweep, for all else start another"
        )
        for key in sorted(old.keys() | new.keys())
        if key not in FREE and old.get(key) != new.get(key)
    ]
    if changed:
        raise UsageError(*changed)


def open_run(
    folder: Path,
    log: EventLog,
    sweep: Sweep,
    environment: Mapping[str, Any],
    findings: Iterable[Finding] = (),
    *,
    extended: bool = False,
    retry_failed: bool = False,
) -> tuple[Recorder, str]:
    """The recorder over all events so far, and a warning ('' if there is nothing to warn of).

    In a new folder the spec, the environment and the findings of the lint are written first.
    `sweep` takes the place of the spec in the folder: a resume may change what trials hold, and an
    `extended` one has more, for which the old spec is kept beside. `retry_failed` says that failed
    trials are taken up again.
    """
    (folder / "stop").unlink(missing_ok=True)
    if not (folder / SPEC).exists():
        write_atomic(folder / SPEC, _yaml(sweep))
        write_atomic(folder / ENVIRONMENT, json.dumps(dict(environment), indent=1).encode())
        found = [finding.to_dict() for finding in findings]
        write_atomic(folder / LINT, json.dumps({"findings": found}, indent=1).encode())
        log.append("sweep_started", spec=sweep.to_dict(), trials=sweep.planned_trials())
        return Recorder(log, read_events(folder, heartbeats=1)), ""
    warning = _changed_code(folder, environment)
    if extended:
        keep_spec(folder)
    if yaml.safe_load((folder / SPEC).read_text(encoding="utf-8")) != sweep.to_dict():
        write_atomic(folder / SPEC, _yaml(sweep))
    _tell_of_extension(folder, log, sweep)
    told = {"git": environment.get("git"), "job": environment.get("job")}
    own = {key: value for key, value in sweep.to_dict().items() if key in FREE}
    log.append("resumed", **told, retry_failed=retry_failed, settings=own)
    return Recorder(log, read_events(folder, heartbeats=1)), warning


def keep_spec(folder: Path) -> Path:
    """Keep `sweep.yaml` under the next free name; one that a crash left kept is not kept twice."""
    content, n = (folder / SPEC).read_bytes(), 1
    while (path := folder / EARLIER_SPEC.format(n)).exists() and path.read_bytes() != content:
        n += 1
    write_atomic(path, content)
    return path


def _tell_of_extension(folder: Path, log: EventLog, sweep: Sweep) -> None:
    """The event of an extension, if `sweep.yaml` is ahead of the events."""
    told = fold(read_events(folder, heartbeats=1)).spec
    if not told:
        return
    try:
        growth = grow(type(sweep).from_dict(told), sweep)
    except NothingAdded:
        return
    log.append(
        "extended",
        spec=sweep.to_dict(),
        trials=sweep.planned_trials(),
        added=growth.added,
        stages=growth.stages,
        before=_kept(folder),
    )


def _kept(folder: Path) -> str:
    """The name under which the spec was kept last."""
    n = 1
    while (folder / EARLIER_SPEC.format(n + 1)).exists():
        n += 1
    return EARLIER_SPEC.format(n)


def _yaml(sweep: Sweep) -> bytes:
    return yaml.safe_dump(sweep.to_dict(), sort_keys=False).encode()


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
