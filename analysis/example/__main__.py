"""python -m analysis.example RUN: keep a finished run, without its checkpoints, as the example."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from analysis.example import RECORDED
from analysis.load import load
from analysis.names import InputError

#: What `analysis` reads; logs, checkpoints and Ray's own files tell of the machine only.
KEPT = ("sweep.yaml", "lint.json", "environment.json", "events", "series", "tables")


def record(path: str | Path, root: Path = RECORDED) -> Path:
    """Replace the example by the run at `path`, and return its folder.

    Raises:
        InputError: no such run, or it is not finished.
    """
    frames = load(path, columns=[])
    if not frames.finished:
        raise InputError(f"{frames.path}: the sweep is not finished")
    folder = root / frames.path.parent.name / frames.path.name
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in KEPT:
        source = frames.path / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m analysis.example")
    parser.add_argument("run", metavar="RUN", help="results/<sweep>/<run-id>, finished")
    print(record(parser.parse_args().run))
