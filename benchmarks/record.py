"""Where a benchmark's result goes: JSON beside what it depends on, the code, machine, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "mujoco", "dm_control", "numpy")


def write(name: str, figures: dict[str, Any]) -> Path:
    """Write `benchmarks/results/<name>.json` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**provenance(), **figures}, indent=2) + "\n", encoding="utf-8")
    return path


@cache
def provenance() -> dict[str, str]:
    """Commit, processor and versions, as of the first call: make it before the work begins."""
    commit = _git("rev-parse", "--short", "HEAD") or "uncommitted"
    # Another benchmark's result, not committed yet, is no change of what is measured.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results")
    return {
        "commit": f"{commit}-dirty" if changed else commit,
        "machine": f"{platform.machine()} {_cpu_name()}, {os.cpu_count()} CPUs",
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _git(*words: str) -> str:
    command = ["git", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RESULTS.parent)
    return ran.stdout.strip()


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
