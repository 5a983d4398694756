"""What this machine has, and what a sweep ran on: without Ray."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from sweeps.core.host.cgroup import cpu_quota, memory_limit

_PACKAGES = ("torch", "mujoco", "ray", "optuna", "numpy", "pyarrow", "pandas", "omegaconf")
#: All that is kept of the environment's variables: which job of a cluster this is.
JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID")
# Beside the trials: driver, Ray's head processes, dashboard and its agents.
HEAD_BYTES = 1200 * 2**20


def usable_cpus() -> int:
    """CPUs that this process may use: affinity and the quota of its container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpus = cpus or 1
    quota = cpu_quota()
    return cpus if quota is None else min(cpus, max(1, int(quota)))


def usable_memory_bytes() -> int:
    """Memory that can still be used: the machine's, or what the container's limit leaves."""
    free = psutil.virtual_memory().available
    limit = memory_limit()
    return free if limit is None else min(free, limit.free_bytes)


def gpu_memory_bytes() -> int:
    """Memory of the smallest GPU of this machine; 0 without a GPU."""
    sizes = [int(line) for line in _ask_gpus("memory.total") if line.isdigit()]
    return min(sizes, default=0) * 2**20


def gpu_names() -> list[str]:
    """What every GPU of this machine is called."""
    return _ask_gpus("name")


def processor() -> str:
    """The name of the CPU, as the kernel tells it; '' where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")


def _ask_gpus(field: str) -> list[str]:
    """A field of every GPU of this machine, as `nvidia-smi` names and prints it."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return [line.strip() for line in found.stdout.splitlines() if found.returncode == 0]


def versions() -> dict[str, str]:
    """What results depend on beside their configuration: Python, packages, our own code."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"Python": platform.python_version()} | packages | {"FlowPWM": git_commit()}


def environment(argv: Sequence[str]) -> dict[str, Any]:
    """What `environment.json` keeps: versions, machine, command, and the `JOB_VARIABLES`."""
    return {
        "command": ["python", f"sweeps/{Path(sys.argv[0]).name}", *argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "git": git_commit(),
        "cpus": usable_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpu_names(),
        "gpu_memory_bytes": gpu_memory_bytes(),
        "processor": processor(),
        "job": {name: os.environ[name] for name in JOB_VARIABLES if name in os.environ},
    }


def git_commit() -> str:
    """The commit of the source tree; '' outside of git.

    Where files were changed since it has '+' and a hash of the changes: two such trees are not the
    same.
    """
    root = Path(__file__).resolve().parents[3]
    if shutil.which("git") is None or not (root / ".git").exists():
        return ""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short=12", "HEAD")
    changes = git("diff", "HEAD") if commit else ""
    return f"{commit}+{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else commit
