"""A SLURM job as its processes know it: what SLURM says of it, and where the head of its Ray is."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sweeps.core.store.durable import write_atomic

MIB = 2**20
#: Names within the folder of a job.
TOKEN, HEAD, PID = "token", "head.json", "head.pid"
PATIENCE_S = 60.0


class JobError(Exception):
    """What is wrong with the job or its command line, in one line."""


@dataclass(frozen=True)
class Job:
    """What SLURM says of the job, on the node where it is asked."""

    job_id: str
    node: str
    nodes: int = 1
    restarts: int = 0
    cpus: int | None = None
    memory_bytes: int | None = None
    array_index: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Job:
        """The job of these variables.

        Raises:
            JobError: they are not those of a job.
        """
        try:
            job_id, node = environment["SLURM_JOB_ID"], environment["SLURMD_NODENAME"]
        except KeyError as error:
            raise JobError(f"{error.args[0]} is not set: this runs inside a SLURM job") from error
        if not job_id.isdigit():
            raise JobError(f"SLURM_JOB_ID must be a number, got {job_id!r}")
        cpus = _number(environment, "SLURM_CPUS_ON_NODE")
        # 0 stands for all of the node.
        mebibytes = _number(environment, "SLURM_MEM_PER_NODE")
        if not mebibytes and cpus:
            mebibytes = (_number(environment, "SLURM_MEM_PER_CPU") or 0) * cpus
        return cls(
            job_id=job_id,
            node=node,
            nodes=_number(environment, "SLURM_JOB_NUM_NODES") or 1,
            restarts=_number(environment, "SLURM_RESTART_COUNT") or 0,
            cpus=cpus,
            memory_bytes=mebibytes * MIB if mebibytes else None,
            array_index=environment.get("SLURM_ARRAY_TASK_ID"),
        )


@dataclass(frozen=True)
class Head:
    """Where the head of the job's Ray is, as its node wrote it down."""

    address: str
    dashboard_port: int
    node: str

    @classmethod
    def read(cls, folder: Path) -> Head:
        """What is in the folder of the job.

        Raises:
            JobError: the head is not up, or no longer.
        """
        try:
            return cls(**json.loads((folder / HEAD).read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise JobError(f"{folder / HEAD}: {error}") from error

    @classmethod
    def await_in(cls, folder: Path, patience_s: float = PATIENCE_S) -> Head:
        """The same on another node, where a shared file system may show the file late.

        Raises:
            JobError: it does not come.
        """
        deadline = time.monotonic() + patience_s
        while not (folder / HEAD).exists() and time.monotonic() < deadline:
            time.sleep(0.5)
        return cls.read(folder)

    def write(self, folder: Path) -> None:
        """Let the others find the head."""
        write_atomic(folder / HEAD, json.dumps(asdict(self)).encode())


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else None
