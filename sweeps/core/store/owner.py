"""Which live process owns a run folder: a claim that frees itself when its process is dead.

Claims are `owner/<n>.json`, each linked into place whole; the highest n counts. Of any number of
processes that see a dead owner exactly one gets the next number.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from sweeps.core.store.durable import sync_folder, temp_path, write_atomic

#: Beside the claims: the seconds that the owner takes to be left.
REMAINING = "remaining.json"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderOwned(RuntimeError):
    """Another live process owns the run folder."""


@dataclass(frozen=True)
class Owner:
    """A process, named so that nobody else is ever mistaken for it."""

    host: str
    boot_id: str
    pid_namespace: str
    pid: int
    pid_start: str
    since: str
    nonce: str
    slurm_job: str | None = None
    released: bool = False

    @classmethod
    def of_this_process(cls) -> Owner:
        """The owner that this process is, from now."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            pid=pid,
            pid_start=_pid_start(pid) or "",
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            nonce=secrets.token_hex(8),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
        )

    def is_dead(self) -> bool:
        """Whether the process is known to be gone; one that cannot be looked up counts as alive."""
        if self.released:
            return True
        # SLURM starts a requeued job, which keeps its id, only after the earlier run has ended.
        requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
        if requeued and self.slurm_job and self.slurm_job == os.environ.get("SLURM_JOB_ID"):
            return not (self.host == socket.gethostname() and self._is_running())
        if self.host != socket.gethostname():
            return False
        return not self._is_running()

    def _is_running(self) -> bool:
        if self.boot_id != _boot_id():
            return False
        if self.pid_namespace != _pid_namespace():
            return True  # its pid means nothing to us
        return _pid_start(self.pid) == self.pid_start


@dataclass(frozen=True)
class Driver:
    """The process that drives a sweep, or drove it last, as its run folder shows it."""

    host: str
    pid: int
    alive: bool  # also where it cannot be looked up from here: then only `beat` tells
    released: bool  # it gave the folder up itself
    beat: datetime  # its last sign of life, UTC
    remaining_s: float | None = None  # what it then took to be left


def driver_of(folder: Path) -> Driver | None:
    """Who drives the sweep in a run folder; None where nobody ever claimed it readably."""
    try:
        newest = Claim(folder).newest()
        if newest is None:
            return None
        place, owner = newest
        beat = datetime.fromtimestamp(place.stat().st_mtime, UTC)
    except (FolderOwned, FileNotFoundError):
        return None
    alive, left = not owner.is_dead(), None
    with suppress(OSError, ValueError, TypeError):
        told = json.loads((folder / "owner" / REMAINING).read_bytes())
        left = float(told["seconds"]) if told["nonce"] == owner.nonce else None
    return Driver(owner.host, owner.pid, alive, owner.released, beat, left)


class Claim:
    """Ownership of a run folder. Making one touches nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = folder / "owner"
        self._mine: tuple[Path, Owner] | None = None

    def owner(self) -> Owner | None:
        """The live owner; None if the folder is free."""
        found = self.newest()
        return None if found is None or found[1].is_dead() else found[1]

    def take(self) -> None:
        """Become the owner, also in place of one whose process is dead, whatever its age.

        Raises:
            FolderOwned: a live process owns the folder, or one that cannot be looked up from here.
            OSError: the folder cannot be written.
        """
        self._places.mkdir(mode=0o700, exist_ok=True)
        mine = Owner.of_this_process()
        while True:
            newest = self.newest()
            if newest is not None and not newest[1].is_dead():
                raise FolderOwned(self._refusal(*newest))
            number = 1 if newest is None else int(newest[0].stem) + 1
            place = self._places / f"{number:06d}.json"
            if not _create_whole(place, json.dumps(asdict(mine)).encode()):
                continue
            # A number is cleared away only when a higher one is there: had ours been given
            # before, we see that higher one now.
            newest = self.newest()
            if newest is not None and newest[0] == place:
                break
            place.unlink(missing_ok=True)
        self._mine = (place, mine)
        for old in self._places.glob("*.json"):
            if old.stem < place.stem:
                old.unlink(missing_ok=True)

    def heartbeat(self, remaining_s: float | None = None) -> None:
        """Show that the owner is at work, as the time stamp of its file, and what it has to do.

        Raises:
            FolderOwned: somebody removed our claim by hand and another process has the folder.
        """
        if self._mine is None:
            return
        newest = self.newest()
        if newest is None or newest[1].nonce != self._mine[1].nonce:
            self._mine = None
            raise FolderOwned(f"{self._folder} was taken over by another process")
        os.utime(newest[0])
        if remaining_s is not None:
            told = {"nonce": newest[1].nonce, "seconds": round(remaining_s, 1)}
            write_atomic(self._places / REMAINING, json.dumps(told).encode())

    def release(self) -> None:
        """Give the folder up; does nothing in a process that does not own it."""
        if self._mine is None or self._mine[1].pid != os.getpid():
            return
        place, mine = self._mine
        self._mine = None
        if place.exists():
            write_atomic(place, json.dumps(asdict(mine) | {"released": True}).encode())

    def newest(self) -> tuple[Path, Owner] | None:
        """The claim that counts, and where it lies. Raises FolderOwned if it cannot be read."""
        while True:
            found = sorted(self._places.glob("[0-9]*.json"))
            if not found:
                return None
            try:
                return found[-1], Owner(**json.loads(found[-1].read_bytes()))
            except FileNotFoundError:
                continue  # a newer owner has just cleared it away
            except (ValueError, TypeError) as error:
                raise FolderOwned(
                    f"{found[-1]} names no owner ({error}); delete it if no sweep runs there"
                ) from error

    def _refusal(self, place: Path, owner: Owner) -> str:
        message = (
            f"{self._folder} is owned by process {owner.pid} on {owner.host} since {owner.since}"
        )
        with suppress(FileNotFoundError):
            message += (
                f" (last heartbeat {max(0.0, time.time() - place.stat().st_mtime):.0f} s ago)"
            )
        if owner.host != socket.gethostname():
            message += f"; if that machine is gone, delete {place}"
        return message


def _create_whole(path: Path, data: bytes) -> bool:
    """Create `path` with its contents in one step; False if it exists already."""
    temp = temp_path(path)
    write_atomic(temp, data)
    try:
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Some object-store mounts have no links; a crash within these lines needs a human.
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            return False
    finally:
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _pid_start(pid: int) -> str | None:
    """When the process began, in a form that no change of the clock alters; None if it is dead."""
    try:
        if psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():
            return stat.read_text().rpartition(")")[2].split()[19]
        return f"{psutil.Process(pid).create_time():.2f}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None
