"""The run folder of a sweep: its name and its places."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from sweeps.core.store.durable import sync_folder, temp_path, write_atomic
from sweeps.core.store.owner import Claim, FolderOwned, Owner

__all__ = [
    "FolderOwned",
    "Owner",
    "RunFolder",
    "StorageError",
    "check_name",
    "create_run_folder",
    "probe_writable",
    "sweep_folder",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "latest",
        *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10)),
    }
)


class StorageError(RuntimeError):
    """The results folder cannot be written."""


class RunFolder:
    """One run of a sweep on disk. Making one touches nothing; `claim` takes ownership."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._claim = Claim(self.path)

    @property
    def events(self) -> Path:
        """Event logs."""
        return self.path / "events"

    @property
    def series(self) -> Path:
        """Arrow streams, one folder a trial."""
        return self.path / "series"

    @property
    def tables(self) -> Path:
        """Compacted Parquet."""
        return self.path / "tables"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, one folder a trial."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Worker output, one file an attempt."""
        return self.path / "logs"

    @property
    def stop_file(self) -> Path:
        """Exists while the sweep is asked to stop."""
        return self.path / "stop"

    def owner(self) -> Owner | None:
        """The live owner; None if the folder is free."""
        return self._claim.owner()

    def claim(self) -> Self:
        """Become the owner, also in place of one whose process is dead, whatever its age.

        Raises:
            FolderOwned: a live process owns the folder, or one that cannot be looked up from here.
            OSError: the folder cannot be written.
        """
        self._claim.take()
        return self

    def heartbeat(self, remaining_s: float | None = None) -> None:
        """Show that the owner is at work, as the time stamp of its claim, and what it has to do.

        Raises:
            FolderOwned: somebody removed our claim by hand and another process has the folder.
        """
        self._claim.heartbeat(remaining_s)

    def release(self) -> None:
        """Give the folder up; does nothing in a process that does not own it."""
        self._claim.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def check_name(name: str) -> str:
    """The name of a sweep, if it can be a folder.

    Raises:
        ValueError: with the name and what is allowed.
    """
    if not _NAME.fullmatch(name) or ".." in name or name.lower() in _RESERVED:
        raise ValueError(
            f"invalid sweep name {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, without '..', and no reserved name"
        )
    return name


def create_run_folder(root: Path, sweep: str) -> RunFolder:
    """A new folder `<root>/<sweep>/<run-id>`, owned by this process, with `latest` pointing to it.

    Raises:
        ValueError: the name cannot be a folder, or leads out of `root` by a link.
        StorageError: `root` cannot be written.
    """
    parent = sweep_folder(root, sweep)
    probe_writable(parent.parent)
    try:
        path = _new_folder(parent)
        for name in ("events", "series", "tables", "checkpoints", "logs"):
            (path / name).mkdir(mode=0o700)
        folder = RunFolder(path).claim()
        link = temp_path(parent / "latest")
        link.symlink_to(path.name, target_is_directory=True)
        link.replace(parent / "latest")
        sync_folder(parent)
    except OSError as error:
        raise StorageError(f"cannot make a run folder in {parent}: {error}") from error
    return folder


def sweep_folder(root: Path, sweep: str) -> Path:
    """The absolute folder of all runs of a sweep; nothing is made.

    Raises:
        ValueError: the name cannot be a folder, or leads out of `root` by a link.
    """
    parent = root.resolve() / check_name(sweep)
    if not parent.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"sweep {sweep!r} leads out of {root}: {parent} is a link")
    return parent


def probe_writable(root: Path) -> None:
    """Make `root` and show that a file can be written, synced and renamed there.

    Raises:
        StorageError: with the path and the reason.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe-{secrets.token_hex(4)}"
        write_atomic(probe, b"probe")
        probe.unlink()
    except OSError as error:
        raise StorageError(f"cannot write results to {root}: {error}") from error


def _new_folder(parent: Path) -> Path:
    parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = parent / f"{stamp}-{secrets.token_hex(2)}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
