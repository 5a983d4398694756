"""What the control groups of this process allow it: those of a container, a batch job, a user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# The first version writes "no limit" as the largest number of pages.
_UNLIMITED_BYTES = 2**60


@dataclass(frozen=True)
class MemoryLimit:
    """A limit and what is used of it; the page cache that gives way is not counted as used."""

    limit_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        """What is left of it."""
        return max(self.limit_bytes - self.used_bytes, 0)


def memory_limit(root: Path = ROOT, membership: Path = MEMBERSHIP) -> MemoryLimit | None:
    """The limit that leaves least, of this process' group and all above it; None without one."""
    found = [*_limits(root, membership)]
    return min(found, key=lambda limit: limit.free_bytes, default=None)


def cpu_quota(root: Path = ROOT, membership: Path = MEMBERSHIP) -> float | None:
    """CPUs by the smallest quota of this process' group and all above it; None without one."""
    quotas = []
    for folder in _folders(root, membership, ""):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def oom_kills(root: Path = ROOT, membership: Path = MEMBERSHIP) -> int:
    """How many processes of this group the kernel has killed for memory; 0 if it does not tell.

    A kill counts in the group of the killed process, whichever group had reached its limit.
    """
    own = _folders(root, membership, "")[0] / "memory.events"
    own_first_version = _folders(root / "memory", membership, "memory")[0] / "memory.oom_control"
    lines = [*_read(own).splitlines(), *_read(own_first_version).splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _limits(root: Path, membership: Path) -> Iterator[MemoryLimit]:
    for folder in _folders(root, membership, ""):
        yield from _limit(folder, "memory.max", "memory.current", "inactive_file")
    for folder in _folders(root / "memory", membership, "memory"):
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        yield from _limit(folder, *names)


def _limit(folder: Path, limit: str, used: str, cache: str) -> Iterator[MemoryLimit]:
    most, now = _read(folder / limit), _read(folder / used)
    if most.isdigit() and now.isdigit() and int(most) < _UNLIMITED_BYTES:
        lines = [line.split() for line in _read(folder / "memory.stat").splitlines()]
        stat = {words[0]: int(words[1]) for words in lines if len(words) == 2}
        yield MemoryLimit(int(most), max(int(now) - stat.get(cache, 0), 0))


def _folders(root: Path, membership: Path, controller: str) -> list[Path]:
    """The folder of this process' group and those above it, as far as they can be seen.

    In a container the path is often that of the host; the root is then the group itself.
    """
    for line in _read(membership).splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            folder = root / path.lstrip("/")
            above = [p for p in folder.parents if p.is_relative_to(root)]
            return [p for p in (folder, *above) if p.is_dir()]
    return [root]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
