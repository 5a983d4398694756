"""sweep.sbatch under stand-ins: requeue, resume, signals, tokens, ports; nothing is left behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.core.host.ports import PortBlock
from sweeps.core.store.schema import ExitCode
from tests.sweeps.slurm_job import SMALL, SlurmJob

pytestmark = pytest.mark.fault
slow = pytest.mark.slow  # each launch starts a handful of interpreters
long = pytest.mark.long


@pytest.fixture
def job(tmp_path: Path) -> Iterator[SlurmJob]:
    # Numbers of tests that run at once on one machine must differ.
    job = SlurmJob(tmp_path, number=os.getpid() * 100)
    yield job
    job.kill()


@slow
def test_a_time_limit_requeues_the_job_and_it_goes_on_in_its_own_folder(job: SlurmJob) -> None:
    job.plan("75", "75", "0")
    job.submit(str(SMALL), "a=1", "--quiet", options=("--nodes=2",))
    for launch in (1, 2):
        job.wait_for(lambda launch=launch: len(job.launches) == launch)
        # A later run of somebody else must not be taken for ours.
        other = job.cwd / "results" / "small" / f"99991231T00000{launch}-aaaa"
        other.mkdir()
        (other / "environment.json").write_text('{"job": {"SLURM_JOB_ID": "1"}}')
        (job.cwd / "results" / "small" / "latest").unlink()
        (job.cwd / "results" / "small" / "latest").symlink_to(other.name)
        job.signal_batch(signal.SIGUSR1)
    assert job.end() == 0, job.text
    first, second, third = job.launches
    folder = first["folder"]
    assert first["words"][:2] == ["a=1", "--quiet"] and "--resume" not in first["words"]
    for later in (second, third):
        assert later["words"][:2] == ["--quiet", "--resume"]
        assert later["words"][3:] == first["words"][2:]
        assert later["folder"] == folder
    assert {launch["cwd"] for launch in job.launches} == {str(job.cwd)}
    assert job.text.count("requeued; goes on at the next start") == 2

    assert {launch["token_mode"] for launch in job.launches} == {0o600}
    assert {launch["auth_mode"] for launch in job.launches} == {"token"}
    assert len({launch["token"] for launch in job.launches}) == 3
    assert job.traces() == []

    head, other = job.rays[:2]
    assert (head["node"], other["node"]) == ("127.0.0.2", "127.0.0.3")
    assert len(job.rays) == 6
    address = f"127.0.0.2:{head['options']['port']}"
    assert first["words"][2:] == ["--address", address]
    assert other["options"]["address"] == address and "head" not in other["options"]
    assert head["options"]["dashboard-host"] == "127.0.0.1"
    blocks = [PortBlock(int(ray["options"]["node-manager-port"]) - 2) for ray in (head, other)]
    assert set(blocks[0].ports).isdisjoint(blocks[1].ports)
    for ray, block in zip((head, other), blocks, strict=True):
        options = ray["options"]
        ports = [int(value) for name, value in options.items() if name.endswith("port")]
        assert set(ports) <= set(block.ports) and len(ports) == len(set(ports))
        assert int(options["min-worker-port"]) == block.workers[0]
        assert int(options["max-worker-port"]) == block.workers[-1]
        assert ray["temp_mode"] == 0o700 and len(options["temp-dir"]) <= 36
        assert ray["environment"]["RAY_AUTH_MODE"] == "token"
        assert ray["environment"]["RAY_AUTH_TOKEN_PATH"].endswith(f".slurm/{job.number}/token")
        assert ray["environment"]["RAY_USAGE_STATS_ENABLED"] == "0"


def test_a_job_that_is_cancelled_saves_and_does_not_come_again(job: SlurmJob) -> None:
    job.plan("75")
    job.submit(str(SMALL))
    job.wait_for(lambda: len(job.launches) == 1)
    job.signal_batch(signal.SIGTERM)
    assert job.end() == 75, job.text
    assert "requeued" not in job.text
    assert job.traces() == []


def test_a_signal_to_the_shell_and_to_the_driver_is_one_signal(job: SlurmJob) -> None:
    job.plan("75")
    job.submit(str(SMALL))
    job.wait_for(lambda: len(job.launches) == 1)
    for process in job.running(str(SMALL)):
        if process.cmdline()[1] == str(SMALL):
            process.send_signal(signal.SIGTERM)
    job.signal_batch(signal.SIGTERM)
    assert job.end() == 75, job.text
    assert "second signal" not in job.text


def test_a_signal_to_everything_at_once_ends_it_and_does_not_requeue(job: SlurmJob) -> None:
    job.plan("75")
    job.submit(str(SMALL), options=("--nodes=2",))
    job.wait_for(lambda: len(job.launches) == 1 and len(job.rays) == 2)
    for process in job.processes():  # as `scancel` does
        with contextlib.suppress(psutil.NoSuchProcess):  # one ends by the signal to another
            process.send_signal(signal.SIGTERM)
    assert job.end() == 75, job.text
    assert "second signal" not in job.text and "requeued" not in job.text
    assert job.processes() == []
    assert list(job.cwd.rglob("token")) == []


@pytest.mark.parametrize(
    "code", [ExitCode.OK, ExitCode.FAILED_TRIALS, ExitCode.STORAGE, ExitCode.CAPPED]
)
def test_the_code_of_the_sweep_is_that_of_the_job(job: SlurmJob, code: ExitCode) -> None:
    job.plan(str(int(code)))
    job.submit(str(SMALL))
    assert job.end() == code, job.text
    assert len(job.launches) == 1
    assert "requeue" not in job.text  # neither a cap nor a full disk is better the next time
    assert job.traces() == []


@long
def test_a_job_is_not_requeued_for_ever(job: SlurmJob) -> None:
    job.plan("75", "75", "0")
    job.submit(str(SMALL), FLOWPWM_MAX_REQUEUES="1")
    for launch in (1, 2):
        job.wait_for(lambda launch=launch: len(job.launches) == launch)
        job.signal_batch(signal.SIGUSR1)
    assert job.end() == 75, job.text
    assert "not requeued: that was done 1 times" in job.text


def test_a_requeue_that_slurm_refuses_is_said_and_the_sweep_can_go_on_by_hand(
    job: SlurmJob,
) -> None:
    job.plan("75")
    (job.state / "requeue-fails").touch()
    job.submit(str(SMALL))
    job.wait_for(lambda: len(job.launches) == 1)
    job.signal_batch(signal.SIGUSR1)
    assert job.end() == 75, job.text
    assert "SLURM refuses to requeue" in job.text


@long
def test_a_time_limit_before_the_driver_runs_requeues_without_a_run_folder(job: SlurmJob) -> None:
    job.plan("0")
    (job.state / "ray-waits").touch()
    job.submit(str(SMALL))
    job.wait_for(lambda: len(job.rays) == 1)
    job.signal_batch(signal.SIGUSR1)
    job.wait_for(lambda: "requeued" in job.text)
    (job.state / "ray-waits").unlink()
    assert job.end() == 0, job.text
    (launch,) = job.launches
    assert "--resume" not in launch["words"]
    assert job.traces() == []


@long
def test_a_signal_that_finds_the_driver_deaf_requeues_too(job: SlurmJob) -> None:
    job.plan("deaf", "0")
    job.submit(str(SMALL))
    job.wait_for(lambda: len(job.launches) == 1)
    job.signal_batch(signal.SIGUSR1)
    assert job.end() == 0, job.text
    assert job.launches[1]["folder"] == job.launches[0]["folder"]


def test_a_ray_that_does_not_start_ends_the_job_with_its_last_words(job: SlurmJob) -> None:
    job.plan("0")
    (job.state / "ray-fails").touch()
    job.submit(str(SMALL), options=("--nodes=2",))
    assert job.end() == 1
    assert "node 127.0.0.2: Ray ended with code 3" in job.text
    assert "there is no room" in job.text
    assert job.launches == []
    assert job.traces() == []


def test_nodes_end_when_their_head_is_killed(job: SlurmJob) -> None:
    job.plan("75")
    job.submit(str(SMALL), options=("--nodes=2",))
    job.wait_for(lambda: len(job.launches) == 1 and len(job.rays) == 2)
    job.running("--head")[0].kill()
    job.wait_for(lambda: not job.running("join"), timeout_s=30)
    job.signal_batch(signal.SIGTERM)
    assert job.end() == 75, job.text
    assert job.traces() == []


@long
def test_every_index_of_an_array_has_a_run_folder_of_its_own(job: SlurmJob) -> None:
    job.plan("0", "0")
    job.submit(str(SMALL), "seeds=[{array}]", options=("--array=3,5",))
    assert job.end() == 0, job.text
    first, second = job.launches
    assert (first["words"][0], second["words"][0]) == ("seeds=[3]", "seeds=[5]")
    assert (first["job"], second["job"]) == (str(job.number + 3), str(job.number + 5))
    assert first["folder"] != second["folder"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: sbatch"),
        (["sweeps/none.py"], "no sweep script sweeps/none.py"),
        ([str(SMALL), "--address", "10.0.0.1:6379"], "--address is not for a job"),
        ([str(SMALL), "seeds=[{array}]"], "{array} is for jobs of an array"),
    ],
)
def test_a_wrong_command_line_starts_nothing(job: SlurmJob, words: list[str], message: str) -> None:
    job.submit(*words)
    assert job.end() == 2, job.text
    assert message in job.text
    assert job.rays == [] and job.traces() == []
