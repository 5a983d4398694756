"""The doctor of a machine: every line says what is wrong and what to do; nothing is started."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from sweeps.core.doctor import install, machine, ray, storage
from sweeps.core.doctor.__main__ import main
from sweeps.core.doctor.findings import Finding, guarded

ROOT = Path(__file__).parents[3]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a Ray token of mode 0600."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("t" * 64)
    path.chmod(0o600)
    return path


def levels(found: Iterable[Finding]) -> list[str]:
    return [finding.level for finding in found]


def project(tmp_path: Path, python: str = ">=3.11", *dependencies: str) -> Path:
    path = tmp_path / "pyproject.toml"
    path.write_text(
        f"[project]\nrequires-python = {python!r}\ndependencies = {list(dependencies)}\n"
    )
    return path


def test_this_machine_is_fit_and_no_ray_is_started(
    token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    assert main(["--json", "--results", str(results)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"python", "packages", "dashboard", "mujoco", "token", "ports"} <= {
        line["check"] for line in found
    }
    assert all(set(line) == {"level", "check", "message", "todo"} for line in found)
    assert all(line["todo"] for line in found if line["level"] != "ok")
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before
    assert not results.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".ray"]


def test_a_failure_is_a_line_with_what_to_do_and_exit_code_1(
    token: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token.chmod(0o640)
    assert main(["--results", str(tmp_path)]) == 1
    (line,) = [text for text in capsys.readouterr().out.splitlines() if text.startswith("fail")]
    assert "has mode 0640: others can read it; chmod 600" in line
    assert token.stat().st_mode & 0o777 == 0o640
    assert main(["--results", str(tmp_path), "--fix"]) == 0
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("words", [["--colour"], ["--cluster"], ["--cluster", "x", "--fix"]])
def test_a_wrong_command_line_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_a_check_that_breaks_is_a_failure_and_not_a_traceback() -> None:
    @guarded
    def check_teeth() -> Iterable[Finding]:
        yield Finding("ok", "teeth", "32")
        raise OSError("no mirror")

    first, second = check_teeth()
    assert (first.level, second.level) == ("ok", "fail")
    assert "OSError: no mirror" in second.message


def test_an_installation_with_holes_is_told_in_lines(token: Path, tmp_path: Path) -> None:
    for name in ("psutil", "pyarrow", "yaml", "ray", "torch", "mujoco"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('is not here')")
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.core.doctor", "--results", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} <= {"ok", "warn", "fail"}
    assert "a pendulum does not step: ImportError: is not here" in done.stdout
    assert "memory could not be checked: ImportError" in " ".join(done.stdout.split())


def test_a_package_out_of_its_range_and_a_missing_one_are_named(tmp_path: Path) -> None:
    found = install.check_packages(
        project(tmp_path, ">=3.11", "numpy<1", "no-such-thing>=1", "psutil>=7", "x; extra == 'y'")
    )
    assert levels(found) == ["fail", "fail"]
    assert "numpy is" in found[0].message and "needs <1" in found[0].message
    assert found[1].message == "no-such-thing is not installed"
    assert "constraints.txt" in found[1].todo


def test_another_python_is_refused(tmp_path: Path) -> None:
    (found,) = install.check_python(project(tmp_path, "<3.0"))
    assert found.level == "fail" and "needs <3.0" in found.message


def test_without_a_source_tree_the_installed_package_says_what_it_needs(tmp_path: Path) -> None:
    python, needs = install.requirements(tmp_path / "none.toml")
    assert python == ">=3.11"
    assert any(line.startswith("torch") for line in needs)
    assert not any("extra" in line for line in needs)


def test_a_missing_token_is_no_failure_but_says_how_to_make_one(token: Path) -> None:
    token.unlink()
    (found,) = ray.check_token()
    assert found.level == "warn" and "ray get-auth-token --generate" in found.todo
    assert not token.exists()


def test_an_empty_token_fails(token: Path) -> None:
    token.write_text("")
    (found,) = ray.check_token(True)
    assert found.level == "fail" and "is empty" in found.message


def test_no_authentication_fails_whatever_the_token(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (found,) = ray.check_token()
    assert found.level == "fail" and found.todo == "unset RAY_AUTH_MODE"


def test_a_token_in_the_environment_is_not_shown(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "hunter2")
    (found,) = ray.check_token()
    assert found.level == "warn" and "hunter2" not in found.message + found.todo


def test_too_little_shared_memory_says_how_a_container_gets_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert levels(machine.check_shared_memory(tmp_path)) == ["ok"]
    monkeypatch.setattr(machine, "LEAST_SHARED_BYTES", 2**80)
    (small,) = machine.check_shared_memory(tmp_path)
    assert (small.level, small.todo) == ("warn", "for a container: --shm-size=1g")
    (missing,) = machine.check_shared_memory(tmp_path / "none")
    assert missing.level == "warn"


def fake_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> None:
    path = tmp_path / "bin" / "nvidia-smi"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)


def test_gpus_are_listed_and_why_torch_cannot_use_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also where there is a real one
    fake_smi(tmp_path, monkeypatch, "NVIDIA L40S, 46068 MiB, 570.1", 0)
    card, torch = machine.check_gpus()
    assert (card.level, card.message) == ("ok", "NVIDIA L40S, 46068 MiB, 570.1")
    assert torch.level == "warn" and "CUDA_VISIBLE_DEVICES=''" in torch.message


def test_a_driver_that_does_not_answer_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_smi(tmp_path, monkeypatch, "NVIDIA-SMI has failed", 9)
    (found,) = machine.check_gpus()
    assert found.level == "warn" and found.message.endswith("NVIDIA-SMI has failed")


def test_physics_that_crash_fail_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PHYSICS", "import os; os.abort()")
    (found,) = machine.check_physics()
    assert found.level == "fail" and "ended with code -6" in found.message


def test_a_results_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = storage.check_results(tmp_path / "file" / "results")
    assert found.level == "fail" and str(tmp_path / "file") in found.message


def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LEAST_BYTES", 2**80)
    monkeypatch.setattr(storage, "LEAST_INODES", 2**80)
    found = storage.check_results(tmp_path)
    assert levels(f for f in found if f.check == "disk") == ["fail", "warn"]
    assert list(tmp_path.iterdir()) == []


MOUNTS = """\
/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw,hard,vers=4.1 0 0
server:/old /home/old\\040things nfs rw,soft 0 0
bucket /bucket fuse.s3fs rw 0 0
tmpfs /tmp tmpfs rw 0 0
overlay /image overlay rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "level", "words"),
    [
        ("/opt/results", "ok", "ext4 at / is local"),
        ("/home/me/results", "ok", "nfs4 at /home is a network file system"),
        ("/home/old things/results", "warn", "nfs at /home/old things"),
        ("/homework", "ok", "ext4 at / is local"),
        ("/bucket", "fail", "is an object store"),
        ("/tmp/results", "warn", "gone when the machine restarts"),
        ("/image/results", "warn", "gone with the container"),
    ],
)
def test_the_file_system_under_the_results_is_named(
    place: str, level: str, words: str, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    (found,) = storage.check_mount(Path(place), mounts)
    assert found.level == level and words in found.message
