"""Limits of control groups, read from folders laid out as the kernel lays them out."""

from pathlib import Path

from sweeps.core.host.cgroup import MemoryLimit, cpu_quota, memory_limit, oom_kills

GIB = 2**30


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def member_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "membership"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_limit_of_a_batch_job_above_the_own_group_counts(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    job = root / "system.slice" / "job_7"
    write(root, memory__stat="inactive_file 5")
    write(job, memory__max=str(8 * GIB), memory__current=str(3 * GIB), cpu__max="400000 100000")
    write(job, memory__stat=f"anon 9\ninactive_file {GIB}")
    write(job / "step_0", memory__max="max", memory__current=str(GIB), cpu__max="max 100000")
    member = member_of(tmp_path, "0::/system.slice/job_7/step_0")
    assert memory_limit(root, member) == MemoryLimit(8 * GIB, 2 * GIB)
    assert cpu_quota(root, member) == 4.0


def test_the_tighter_of_two_limits_counts(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "a", memory__max=str(8 * GIB), memory__current=str(7 * GIB))
    write(root / "a" / "b", memory__max=str(4 * GIB), memory__current=str(GIB))
    limit = memory_limit(root, member_of(tmp_path, "0::/a/b"))
    assert limit is not None and limit.free_bytes == GIB


def test_in_a_container_the_root_is_the_own_group(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root, memory__max=str(2 * GIB), memory__current=str(GIB), cpu__max="150000 100000")
    member = member_of(tmp_path, "0::/docker/abc")  # a path of the host, not seen in here
    assert memory_limit(root, member) == MemoryLimit(2 * GIB, GIB)
    assert cpu_quota(root, member) == 1.5


def test_the_first_version_has_its_own_folders_and_its_own_word_for_no_limit(
    tmp_path: Path,
) -> None:
    root = tmp_path / "cgroup"
    job = root / "memory" / "slurm" / "job_7"
    unlimited = str(2**63 - 4096)
    write(root / "memory", memory__limit_in_bytes=unlimited, memory__usage_in_bytes="0")
    write(job, memory__limit_in_bytes=str(4 * GIB), memory__usage_in_bytes=str(GIB))
    member = member_of(tmp_path, "4:memory:/slurm/job_7", "0::/")
    assert memory_limit(root, member) == MemoryLimit(4 * GIB, GIB)
    assert memory_limit(root, member_of(tmp_path, "4:memory:/", "0::/")) is None


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "none", tmp_path / "none") is None
    assert cpu_quota(tmp_path / "none", tmp_path / "none") is None


def test_kills_for_memory_are_those_of_the_own_group(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "job", memory__events="low 0\noom 9\noom_kill 7\noom_group_kill 0")
    write(root / "job" / "step", memory__events="oom 2\noom_kill 1\noom_group_kill 0")
    assert oom_kills(root, member_of(tmp_path, "0::/job/step")) == 1


def test_the_first_version_counts_kills_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    job = root / "memory" / "job"
    write(job, memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3")
    assert oom_kills(root, member_of(tmp_path, "4:memory:/job", "0::/")) == 3
    assert oom_kills(tmp_path / "none", tmp_path / "none") == 0
