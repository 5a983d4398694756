"""A recorded sweep to try the analysis on: `python sweeps/flow_tuning.py` as it ran on two cores.

`python -m analysis.example RUN` records another one in its place.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from analysis.names import InputError

RECORDED = Path(__file__).parent / "recorded"


def example(out: str | Path = "results") -> Path:
    """Copy the recorded sweep below `out` and return its run folder, to `load`.

    A copy that is there already, with whatever was added to it, is left as it is.

    Raises:
        InputError: the package was installed without its data.
        OSError: `out` cannot be written.
    """
    runs = sorted(path for path in RECORDED.glob("*/*") if path.is_dir())
    if not runs:
        raise InputError(f"no recorded sweep in {RECORDED}")
    run = runs[-1]
    folder = Path(out) / f"{run.parent.name}-example" / run.name
    if not folder.exists():
        shutil.copytree(run, folder)
        latest = folder.parent / "latest"
        if not latest.exists():
            latest.symlink_to(folder.name)
    return folder
