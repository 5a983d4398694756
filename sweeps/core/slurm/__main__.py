"""What `sweeps/slurm/sweep.sbatch` asks: `python -m sweeps.core.slurm job|head|join|drive|stop`.

A job is one allocation, or one index of an array. Its folder `<results>/.slurm/<job>` holds the
token of its Ray and where its head is; both are made anew at every start and gone after it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from sweeps.core.definition.again import going_on, results_of
from sweeps.core.host.auth import write_token
from sweeps.core.slurm import node
from sweeps.core.slurm.job import PID, TOKEN, Head, Job, JobError

ARRAY_INDEX = "{array}"


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
            job = json.loads(path.read_bytes())["job"].get("SLURM_JOB_ID")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
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
    found = run_folder_of(results_of(given), job.job_id) if job.restarts else None
    return [*(given if found is None else going_on(given, found)), "--address", address]


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
    try:
        job = Job.of(os.environ)
        match list(arguments):
            case ["job", script, *words]:
                print(prepare(job, script, words))
            case ["head", folder]:
                return node.run(job, Path(folder))
            case ["join", folder]:
                return node.run(job, Path(folder), Head.await_in(Path(folder)).address)
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
