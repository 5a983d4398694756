"""What a SLURM job makes of its variables and words, and the command of each node."""

import json
import os
from pathlib import Path

import psutil
import pytest

from sweeps.core.host import machine
from sweeps.core.host.ports import PortBlock
from sweeps.core.host.ray_settings import SYSTEM_CONFIG
from sweeps.core.slurm import __main__ as slurm
from sweeps.core.slurm import node as slurm_node
from sweeps.core.slurm.job import Head, Job, JobError

GIB = 2**30
JOB = Job(job_id="4711", node="gpu7", nodes=2, cpus=1, memory_bytes=2 * GIB)
BLOCK = PortBlock(20256)


def variables(**more: str) -> dict[str, str]:
    return {"SLURM_JOB_ID": "4711", "SLURMD_NODENAME": "gpu7"} | more


def test_a_job_is_read_from_its_variables() -> None:
    job = Job.of(
        variables(
            SLURM_JOB_NUM_NODES="2",
            SLURM_RESTART_COUNT="3",
            SLURM_CPUS_ON_NODE="16",
            SLURM_MEM_PER_NODE="65536",
            SLURM_ARRAY_TASK_ID="5",
        )
    )
    assert job == Job("4711", "gpu7", 2, 3, 16, 64 * GIB, "5")


def test_memory_may_be_given_by_cpu_and_0_is_all_of_it() -> None:
    by_cpu = Job.of(variables(SLURM_CPUS_ON_NODE="4", SLURM_MEM_PER_CPU="2048"))
    assert by_cpu.memory_bytes == 8 * GIB
    whole = Job.of(variables(SLURM_CPUS_ON_NODE="4", SLURM_MEM_PER_NODE="0"))
    assert whole.memory_bytes is None
    assert Job.of(variables()).memory_bytes is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "SLURM_JOB_ID is not set"),
        ({"SLURM_JOB_ID": "4711"}, "SLURMD_NODENAME is not set"),
        (variables(SLURM_JOB_ID="../x"), "must be a number, got '../x'"),
    ],
)
def test_outside_of_a_job_that_is_said(given: dict[str, str], message: str) -> None:
    with pytest.raises(JobError, match=message):
        Job.of(given)


def test_the_folder_of_a_job_is_made_anew_with_a_token_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.py").touch()
    words = ["results=elsewhere", "a=1"]
    folder = slurm.prepare(JOB, "sweep.py", words)
    assert folder == tmp_path / "elsewhere" / ".slurm" / "4711"
    token = folder / "token"
    first = token.read_text()
    assert (folder.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o700, 0o600)
    (folder / "head.json").write_text("of a start before")
    assert slurm.prepare(JOB, "sweep.py", words) == folder
    assert [path.name for path in folder.iterdir()] == ["token"]
    assert token.read_text() != first


def run_folder(results: Path, name: str, job: str | None) -> Path:
    folder = results / "flow_tuning" / name
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"job": {"SLURM_JOB_ID": job}}))
    return folder


def test_the_run_folder_of_a_job_is_the_newest_that_names_it(tmp_path: Path) -> None:
    assert slurm.run_folder_of(tmp_path, "4711") is None
    run_folder(tmp_path, "20260101T000000-aaaa", "4711")
    ours = run_folder(tmp_path, "20260102T000000-aaaa", "4711")
    run_folder(tmp_path, "20260103T000000-aaaa", "47110")
    run_folder(tmp_path, "20260104T000000-aaaa", None)
    (tmp_path / "flow_tuning" / "latest").symlink_to(ours.name)
    # Killed before anything was written, and torn.
    (tmp_path / "flow_tuning" / "20260105T000000-aaaa").mkdir()
    (run_folder(tmp_path, "20260106T000000-aaaa", "4711") / "environment.json").write_text("{")
    assert slurm.run_folder_of(tmp_path, "4711") == ours


def test_only_a_job_that_comes_again_goes_on_by_itself(tmp_path: Path) -> None:
    ours = str(run_folder(tmp_path, "20260101T000000-aaaa", "4711"))
    words = [f"results={tmp_path}", "task=reacher-easy", "--yes"]
    address = ["--address", "gpu7:20257"]
    again = Job(job_id="4711", node="gpu7", restarts=1)
    assert slurm.driver_words(JOB, words, "gpu7:20257") == [*words, *address]
    assert slurm.driver_words(again, words, "gpu7:20257") == ["--yes", "--resume", ours, *address]
    # A flag keeps the value that stands after it.
    limited = [*words, "--time-limit", "12h"]
    kept = ["--yes", "--time-limit", "12h"]
    assert slurm.driver_words(again, limited, "gpu7:20257") == [*kept, "--resume", ours, *address]
    # What a file says is in the folder, and may have been edited since.
    filed = [*limited, "--config", "a.yaml", "--config=b.yaml"]
    assert slurm.driver_words(again, filed, "gpu7:20257") == [*kept, "--resume", ours, *address]


def test_a_resume_that_is_asked_for_stays_as_it_is(tmp_path: Path) -> None:
    run_folder(tmp_path, "20260101T000000-aaaa", "4711")
    again = Job(job_id="4711", node="gpu7", restarts=1)
    words = [f"results={tmp_path}", "--resume", "results/flow_tuning/x"]
    assert slurm.driver_words(again, words, "a:1") == [*words, "--address", "a:1"]


def test_a_job_that_comes_again_is_not_started_warm_twice_and_goes_on_extending(
    tmp_path: Path,
) -> None:
    ours = str(run_folder(tmp_path, "20260101T000000-aaaa", "4711"))
    again = Job(job_id="4711", node="gpu7", restarts=1)
    for warm in (["--warm-start", "old"], ["--warm-start=old"]):
        words = [f"results={tmp_path}", *warm, "--yes"]
        resumed = ["--yes", "--resume", ours, "--address", "a:1"]
        assert slurm.driver_words(again, words, "a:1") == resumed
    extending = [f"results={tmp_path}", "--extend", "results/flow_tuning/x", "seeds=9"]
    assert slurm.driver_words(again, extending, "a:1") == [*extending, "--address", "a:1"]


def test_the_head_is_found_by_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"head\.json"):
        Head.await_in(tmp_path, patience_s=0.0)
    head = Head("10.0.0.7:20257", 20261, "gpu7")
    head.write(tmp_path)
    assert Head.read(tmp_path) == head


def test_a_node_has_the_cpus_and_the_memory_of_the_job_and_not_of_the_machine() -> None:
    command = slurm_node.ray_start(JOB, BLOCK, "10.0.0.8", Path("/tmp/x"), "10.0.0.7:20257")
    assert "--num-cpus=1" in command
    (memory,) = [word for word in command if word.startswith("--memory=")]
    assert int(memory.partition("=")[2]) <= 2 * GIB - slurm_node.NODE_BYTES
    whole = Job(job_id="4711", node="gpu7")
    command = slurm_node.ray_start(whole, BLOCK, "10.0.0.7", Path("/tmp/x"), None)
    cpus = min(machine.usable_cpus(), len(BLOCK.workers) - slurm_node.SPARE_WORKERS)
    assert f"--num-cpus={cpus}" in command
    assert "--dashboard-host=127.0.0.1" in command
    (told,) = [word for word in command if word.startswith("--system-config=")]
    assert json.loads(told.partition("=")[2]) == SYSTEM_CONFIG


def test_every_option_is_one_that_ray_knows() -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    for address in (None, "10.0.0.7:20257"):
        command = slurm_node.ray_start(JOB, BLOCK, "10.0.0.7", Path("/tmp/x"), address)
        words = command[command.index("start") + 1 :]
        assert {word.partition("=")[0] for word in words} <= known


def test_ray_watches_the_memory_of_a_machine_that_is_all_ours_only() -> None:
    name = "RAY_memory_monitor_refresh_ms"
    share = slurm_node.node_environment(JOB, Path("/f"), BLOCK, {})
    assert share[name] == "0"
    total = psutil.virtual_memory().total
    whole = Job(job_id="4711", node="gpu7", nodes=2, memory_bytes=total)
    assert name not in slurm_node.node_environment(whole, Path("/f"), BLOCK, {})
    assert slurm_node.node_environment(JOB, Path("/f"), BLOCK, {name: "250"})[name] == "250"


def test_a_node_asks_for_the_token_of_its_job_whatever_the_user_has_set() -> None:
    outside = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "t", "RAY_ADDRESS": "a:1", "A": "b"}
    inside = slurm_node.node_environment(JOB, Path("/f"), BLOCK, outside)
    assert (inside["RAY_AUTH_MODE"], inside["RAY_AUTH_TOKEN_PATH"]) == ("token", "/f/token")
    assert not inside.keys() & {"RAY_AUTH_TOKEN", "RAY_ADDRESS"}
    assert inside["A"] == "b"
    metrics = {int(inside[name]) for name in ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")}
    assert len(metrics) == 2 and metrics < set(BLOCK.ports)


def test_a_job_of_one_node_stays_on_loopback() -> None:
    alone = Job(job_id="4711", node="gpu7")
    assert slurm_node.node_ip(alone) == "127.0.0.1"
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert slurm_node.node_environment(alone, Path("/f"), BLOCK, {})[name] == "0"
    assert name not in slurm_node.node_environment(JOB, Path("/f"), BLOCK, {})


def test_the_temporary_folder_is_ours_alone_and_leaves_room_for_the_names_of_sockets(
    tmp_path: Path,
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    found = [
        slurm_node.temp_folder(JOB, environment)
        for environment in ({}, {"SLURM_TMPDIR": str(long)}, {"TMPDIR": "/no/such/place"})
    ]
    try:
        assert len(set(found)) == 3
        for folder in found:
            assert folder.parent == Path("/tmp") and folder.name.startswith("fp4711-")
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(str(folder)) <= slurm_node.LONGEST_TEMP
            session = "session_2026-11-25_14-53-00_123456_4194304/sockets/plasma_store.12"
            assert len(os.fsencode(folder / session)) <= 107
    finally:
        for folder in found:
            folder.rmdir()
