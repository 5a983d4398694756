"""sweep.sbatch with real Ray on two nodes and a real sweep, stopped by its time limit once."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.core.host.ports import BLOCKS, FIRST, SIZE
from sweeps.core.store.compact import read_tables
from tests.sweeps.slurm_job import SlurmJob
from tests.sweeps.tiny import ROOT, RUN, latest, state_of

pytestmark = [pytest.mark.long, pytest.mark.fault]

SCRIPT = "single_task"
EPOCHS = 200
WORDS = [
    *RUN,
    "preset=laptop",
    "task=point-mass",
    "arms=[mlp,flow]",
    "seeds=2",
    "episodes=3",
    f"epochs={EPOCHS}",
]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[SlurmJob]:
    job = SlurmJob(tmp_path, number=os.getpid() * 100, real_ray=True)
    yield job
    job.kill()


def listeners(job: SlurmJob) -> set[tuple[str, int]]:
    """Address and port of everything that a process of the job listens on."""
    found = set()
    for process in job.processes():
        try:
            found |= {
                (str(connection.laddr.ip), connection.laddr.port)
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
        except psutil.NoSuchProcess:
            continue
    return found


def nodes_at_work(job: SlurmJob) -> int:
    return sum(process.name() == "raylet" for process in job.processes())


@pytest.mark.timeout(600)  # two starts of Ray on a busy machine
def test_a_sweep_on_two_nodes_comes_again_after_its_time_limit_and_ends(job: SlurmJob) -> None:
    job.submit(str(ROOT / "sweeps" / f"{SCRIPT}.py"), *WORDS, options=("--nodes=2",))
    job.wait_for(lambda: "start confirm" in job.text and nodes_at_work(job) == 2, timeout_s=150)
    seen = listeners(job)
    match = re.search(r"dashboard on 127\.0\.0\.2: 127\.0\.0\.1:(\d+)", job.text)
    assert match, job.text
    dashboard = int(match[1])
    assert ("127.0.0.1", dashboard) in seen
    assert {ip for ip, port in seen if port == dashboard} == {"127.0.0.1"}
    assert {port for _, port in seen} <= set(range(FIRST, FIRST + BLOCKS * SIZE))
    assert f"results/.slurm/{job.number}/token" in job.text  # where the dashboard's token is
    with socket.create_connection(("127.0.0.1", dashboard)) as connection:
        connection.sendall(b"GET /api/jobs/ HTTP/1.0\r\n\r\n")
        assert b" 401 " in connection.recv(100)

    job.signal_batch(signal.SIGUSR1)
    job.wait_for(lambda: "requeued; goes on" in job.text, timeout_s=60)
    folder = latest(job.cwd, SCRIPT)
    assert job.end(240) == 0, job.text
    assert f"--resume results/{SCRIPT}/{folder.name}" in job.text
    assert latest(job.cwd, SCRIPT) == folder
    trials = read_tables(folder).trials.to_pylist()
    assert sorted((t["arm"], t["status"], t["epochs_done"]) for t in trials) == [
        ("flow", "COMPLETED", EPOCHS),
        ("flow", "COMPLETED", EPOCHS),
        ("mlp", "COMPLETED", EPOCHS),
        ("mlp", "COMPLETED", EPOCHS),
    ]
    assert {t.attempt for t in state_of(folder).trials.values()} != {1}
    assert job.traces() == []
