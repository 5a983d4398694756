"""Doctor: whether the results folder keeps what a sweep relies on when it is killed."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.core.doctor.findings import Finding, fail, guarded, ok, warn

GIB = 2**30
LEAST_BYTES = GIB
COMFORTABLE_BYTES = 20 * GIB
LEAST_INODES = 10_000
SLOW_SYNC_S = 0.25
SYNCS = 5
MOUNTS = Path("/proc/mounts")
NETWORK = re.compile(
    r"nfs4?|cifs|smb3|smbfs|lustre|gpfs|beegfs|ceph|glusterfs|9p|afs|orangefs|panfs|wekafs|"
    r"fuse\.(sshfs|glusterfs|ceph-fuse|juicefs|beegfs-fuse)"
)
#: Buckets in the dress of a folder: no links, and a rename is a copy.
OBJECT_STORES = re.compile(r"fuse\.(s3fs|gcsfuse|goofys|mountpoint-s3|rclone|blobfuse2?)")


@dataclass(frozen=True)
class Mount:
    """Where a folder's file system is mounted, its type and its options."""

    point: Path
    kind: str
    options: tuple[str, ...]


@guarded
def check_results(results: Path) -> Iterator[Finding]:
    """Writing, syncing, renaming, locking and room in `results`, which is not made."""
    place = results.absolute()
    while not place.exists():
        place = place.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=place))
    except OSError as error:
        todo = "choose another folder with results=FOLDER"
        yield fail("results", f"cannot write to {place}: {error.strerror}", todo)
        return
    try:
        yield from _check_writes(folder, results)
        yield _check_lock(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield from _check_room(place)
    yield from check_mount(place)


def _check_writes(folder: Path, results: Path) -> Iterator[Finding]:
    from sweeps.core.store.durable import write_atomic

    path = folder / "probe"
    times = []
    try:
        for number in range(SYNCS):
            began = time.perf_counter()
            write_atomic(path, str(number).encode())
            times.append(time.perf_counter() - began)
            if path.read_bytes() != str(number).encode():
                raise OSError("what is read is not what was written")
    except OSError as error:
        todo = "results would not survive a crash here: choose another folder with results=FOLDER"
        yield fail("results", f"{results}: sync and rename fail: {error}", todo)
        return
    took = statistics.median(times)
    text = f"{results}: write, sync and rename work ({took * 1000:.0f} ms)"
    if took > SLOW_SYNC_S:
        yield warn("results", text, "slow: every report of a trial waits for it; use a local disk")
    else:
        yield ok("results", text)


def _check_lock(folder: Path) -> Finding:
    path = folder / "lock"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    else:
        todo = "two sweeps could own one folder: choose another with results=FOLDER"
        return fail("locks", "a file that exists can be created again", todo)
    try:
        os.link(path, folder / "link")
    except OSError as error:
        todo = "a crash while a sweep starts may need its claim deleted by hand"
        return warn("locks", f"exclusive creation works, hard links do not ({error})", todo)
    return ok("locks", "exclusive creation and hard links work")


def _check_room(place: Path) -> Iterator[Finding]:
    there = os.statvfs(place)
    free = there.f_bavail * there.f_frsize
    text = f"{free / GIB:.1f} GiB free"
    todo = "delete old runs, or choose another folder with results=FOLDER"
    if free < LEAST_BYTES:
        yield fail("disk", text, todo)
    elif free < COMFORTABLE_BYTES:
        yield warn("disk", text, f"enough for small sizes; for 48M {todo}")
    else:
        yield ok("disk", text)
    # Some file systems make inodes as they need them and say 0.
    if there.f_files and there.f_favail < LEAST_INODES:
        yield warn("disk", f"{there.f_favail} files more can be made", todo)
    elif there.f_files:
        yield ok("disk", f"{there.f_favail} files more can be made")


@guarded
def check_mount(place: Path, mounts: Path = MOUNTS) -> Iterator[Finding]:
    """What kind of file system holds `place`."""
    mount = mount_of(place, mounts)
    if mount is None:
        return
    where = f"{mount.kind} at {mount.point}"
    if OBJECT_STORES.fullmatch(mount.kind):
        todo = "keep results on a disk and copy them there afterwards"
        yield fail("filesystem", f"{where} is an object store: a rename is no single step", todo)
    elif NETWORK.fullmatch(mount.kind) and "soft" in mount.options:
        todo = "mount it with the option hard: with soft a slow server looks like a full disk"
        yield warn("filesystem", f"{where} is a network file system", todo)
    elif NETWORK.fullmatch(mount.kind):
        text = f"{where} is a network file system: good for several nodes"
        yield ok("filesystem", f"{text}; a folder of a machine that died is freed by hand")
    elif mount.kind in ("tmpfs", "ramfs", "overlay"):
        gone = "with the container" if mount.kind == "overlay" else "when the machine restarts"
        yield warn("filesystem", f"{where}: its files are gone {gone}", "use results=FOLDER")
    else:
        yield ok("filesystem", f"{where} is local")


def mount_of(place: Path, mounts: Path = MOUNTS) -> Mount | None:
    """The mount that holds `place`; None where the system does not say."""
    place = place.resolve()
    best: Mount | None = None
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, point, kind, options, *_ = line.split()
        path = Path(_unescaped(point))
        # Of two mounts on one point the later hides the earlier.
        if place.is_relative_to(path) and (
            best is None or len(path.parts) >= len(best.point.parts)
        ):
            best = Mount(path, kind, tuple(options.split(",")))
    return best


def _unescaped(text: str) -> str:
    """Blanks and backslashes in /proc/mounts are octal numbers."""
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), text)
