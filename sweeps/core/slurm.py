"""What `sweeps/slurm/sweep.sbatch` asks: `python -m sweeps.core.slurm job|head|join|drive|stop`.

A job is one allocation, or one index of an array. Its folder `<results>/.slurm/<job>` holds the
token of its Ray and where its head is; both are made anew at every start and gone after it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import psutil

from sweeps.core.auth import write_token
from sweeps.core.durable import write_atomic

MIB = 2**20
ARRAY_INDEX = "{array}"
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


def results_of(words: Iterable[str]) -> Path:
    """The results folder that a command line asks for."""
    found = [word.partition("=")[2] for word in words if word.startswith("results=")]
    return Path(found[0] if found else "results")


def prepare(job: Job, script: str, words: Sequence[str]) -> Path:
    """The folder of the job, absolute, with a new token that only we can read.

    Raises:
        JobError: the command line cannot be that of a sweep in a job.
        OSError: the results folder cannot be written.
    """
    if not Path(script).is_file():
        raise JobError(f"no sweep script {script}; submit from the folder of the project")
    if any(word.partition("=")[0] == "--address" for word in words):
        raise JobError("--address is not for a job: it starts a Ray of its own")
    if job.array_index is None and any(ARRAY_INDEX in word for word in words):
        raise JobError(f"{ARRAY_INDEX} is for jobs of an array: sbatch --array=0-4 ...")
    folder = results_of(words).resolve() / ".slurm" / job.job_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    write_token(folder / TOKEN)
    return folder


def run_folder_of(results: Path, job_id: str) -> Path | None:
    """The newest run folder that was started in this job; None if there is none to go on with."""
    found = []
    for path in results.glob("*/*/environment.json"):
        try:
            job = json.loads(path.read_bytes()).get("slurm_job")
        except (OSError, ValueError, AttributeError):
            continue
        # Names begin with the time. `latest` is a link to a folder that has a name too.
        if job == job_id and not path.parent.is_symlink():
            found.append(path.parent)
    return max(found, key=lambda folder: folder.name, default=None)


def driver_words(job: Job, words: Sequence[str], address: str) -> list[str]:
    """The words for the sweep script: as given, or to go on after a requeue.

    A job that starts for the first time never goes on by itself: numbers of jobs come again.
    """
    given = [word.replace(ARRAY_INDEX, job.array_index or "") for word in words]
    asked = any(word.partition("=")[0] == "--resume" for word in given)
    found = run_folder_of(results_of(given), job.job_id) if job.restarts and not asked else None
    if found is not None:
        # The folder holds the rest; said again it could only differ.
        given = [*(word for word in given if word.startswith("-")), "--resume", str(found)]
    return [*given, "--address", address]


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else None


def _drive(job: Job, folder: Path, script: str, words: Sequence[str]) -> NoReturn:
    head = Head.read(folder)
    command = [sys.executable, script, *driver_words(job, words, head.address)]
    print(f"job {job.job_id} on {head.node}: python {' '.join(command[1:])}")
    print(f"dashboard on {head.node}: 127.0.0.1:{head.dashboard_port}", flush=True)
    # In place of this process: the signals that the batch script sends are for the driver.
    os.execv(command[0], command)


def _stop(folder: Path) -> None:
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        head = psutil.Process(int((folder / PID).read_text()))
        if str(folder) in head.cmdline():  # numbers of processes come again
            head.terminate()


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; returns its exit code, 2 with one line if it cannot be run."""
    from sweeps.core import slurm_node

    try:
        job = Job.of(os.environ)
        match list(arguments):
            case ["job", script, *words]:
                print(prepare(job, script, words))
            case ["head", folder]:
                return slurm_node.run(job, Path(folder))
            case ["join", folder]:
                return slurm_node.run(job, Path(folder), Head.await_in(Path(folder)).address)
            case ["drive", folder, script, *words]:
                _drive(job, Path(folder), script, words)
            case ["stop", folder]:
                _stop(Path(folder))
            case _:
                raise JobError(f"unknown command {' '.join(arguments)!r}; see sweep.sbatch")
    except (JobError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
