"""The runs of sweeps below a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from analysis.load import is_run, locate
from analysis.names import InputError


def is_root(path: str | Path) -> bool:
    """Whether `path` holds sweeps without being one: `results/`, above `results/<sweep>/<run>`."""
    folder = Path(path)
    return folder.is_dir() and not is_run(folder) and not (folder / "latest").is_dir()


def runs_below(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The run folders that are, or lie in, `paths`: a run, a sweep's folder, a results root, or
    several of these. Each once, however many links lead to it.

    Raises:
        InputError: no such folder, or no run in one of them.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    found: dict[Path, None] = {}
    for path in given:
        inside = _below(Path(path).resolve(), depth=2) if Path(path).is_dir() else []
        # What is wrong with a path that holds no run, `locate` says.
        found |= dict.fromkeys(inside or [locate(path)])
    if not found:
        raise InputError("no folder was given")
    return list(found)


def _below(folder: Path, depth: int) -> list[Path]:
    if is_run(folder):
        return [folder]
    if not depth:
        return []
    # Of links only the one that was given is followed: `latest` is a run that is there anyway.
    children = sorted(c for c in folder.iterdir() if c.is_dir() and not c.is_symlink())
    return [run for child in children for run in _below(child, depth - 1)]
