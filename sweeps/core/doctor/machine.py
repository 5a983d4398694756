"""Doctor: processors, memory, GPUs, and whether the physics runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sweeps.core.doctor.findings import Finding, fail, guarded, ok, warn

GIB = 2**30
LEAST_TRIAL_BYTES = GIB
SHARED_MEMORY = Path("/dev/shm")
# Ray's object store, of which a sweep uses next to nothing, and something for the data loaders.
LEAST_SHARED_BYTES = 256 * 2**20
PATIENCE_S = 120

_CUDA = """
import torch
if torch.version.cuda is None:
    print(f"torch {torch.__version__} is built for CPUs only")
elif not torch.cuda.is_available():
    try:
        torch.cuda.init()
    except Exception as error:
        print(str(error).splitlines()[0])
    else:
        print("torch.cuda.is_available() is False and does not say why")
"""
_PHYSICS = """
import numpy as np
from flowpwm.envs import make
env = make("pendulum-swingup", num_envs=1, seed=0)
env.reset()
step = env.step(np.zeros((1, env.action_dim)))
assert np.isfinite(step.obs).all(), step.obs
"""


@guarded
def check_cpus() -> Iterator[Finding]:
    """CPUs that trials may use, against those of the machine."""
    from sweeps.core.host import machine

    usable, there = machine.usable_cpus(), os.cpu_count() or 1
    text = f"{usable} of {there} usable"
    if usable < there:
        text += " (affinity or quota of the container or batch job)"
    yield ok("cpus", text)


@guarded
def check_memory() -> Iterator[Finding]:
    """Memory that trials may use, and the limit of the container or batch job."""
    import psutil

    from sweeps.core.host import machine
    from sweeps.core.host.cgroup import memory_limit

    usable = machine.usable_memory_bytes()
    text = f"{usable / GIB:.1f} of {psutil.virtual_memory().total / GIB:.1f} GiB free"
    limit = memory_limit()
    if limit is not None:
        text += f"; the control group allows {limit.limit_bytes / GIB:.1f} GiB"
    least = machine.HEAD_BYTES + LEAST_TRIAL_BYTES
    if usable < least:
        todo = f"a sweep of one small trial needs {least / GIB:.1f} GiB: end other programs"
        yield fail("memory", text, todo)
    else:
        yield ok("memory", text)


@guarded
def check_shared_memory(place: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Room for Ray's object store, which containers often make too small."""
    if not place.is_dir():
        yield warn("shm", f"{place} is missing: Ray's object store goes to disk", "mount a tmpfs")
        return
    free = shutil.disk_usage(place).free
    text = f"{free / GIB:.2f} GiB free in {place}"
    if free < LEAST_SHARED_BYTES:
        yield warn("shm", text, "for a container: --shm-size=1g")
    else:
        yield ok("shm", text)


@guarded
def check_gpus() -> Iterator[Finding]:
    """GPUs as the driver shows them, and whether torch can use them."""
    if shutil.which("nvidia-smi") is None:
        yield ok("gpu", "none (no nvidia-smi): trials run on CPUs")
        return
    fields = "--query-gpu=name,memory.total,driver_version"
    query = ["nvidia-smi", fields, "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    cards = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not cards:
        reason = _last_line(done.stdout + done.stderr) or f"exit code {done.returncode}"
        yield warn("gpu", f"nvidia-smi finds none: {reason}", "trials run on CPUs until it does")
        return
    for card in cards:
        yield ok("gpu", card)
    if reason := _run(_CUDA):
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if shown is None else f" (CUDA_VISIBLE_DEVICES={shown!r})"
        todo = "device=cuda would fail: install a torch that fits the driver"
        yield warn("gpu", f"torch cannot use it: {reason}{hidden}", todo)
    else:
        yield ok("gpu", "torch can use it")


@guarded
def check_physics() -> Iterator[Finding]:
    """One step of a task of ours, without a display."""
    if reason := _run(_PHYSICS):
        todo = "unset MUJOCO_GL if it is set; else install the versions of constraints.txt"
        yield fail("mujoco", f"a pendulum does not step: {reason}", todo)
    else:
        yield ok("mujoco", "a pendulum steps without a display")


def _run(code: str) -> str:
    """What is wrong after running `code`, '' if nothing; in a process that may crash."""
    command = [sys.executable, "-c", code]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE_S} s"
    if done.returncode:
        return _last_line(done.stderr) or f"ended with code {done.returncode}"
    return _last_line(done.stdout)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
