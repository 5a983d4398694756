"""The run folder: names stay inside, one owner at a time, storage is checked first."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from sweeps.core.store import owner as owner_module
from sweeps.core.store.folder import (
    FolderOwned,
    Owner,
    RunFolder,
    StorageError,
    check_name,
    create_run_folder,
    probe_writable,
)
from sweeps.core.store.owner import driver_of

HOLDER = """
import sys, time
from pathlib import Path
from sweeps.core.store.folder import FolderOwned, RunFolder
while not Path(sys.argv[2]).exists():
    pass
try:
    RunFolder(Path(sys.argv[1])).claim()
except FolderOwned as error:
    print("refused", error, flush=True)
else:
    print("owner", flush=True)
    time.sleep(60)
"""


def start_holder(folder: Path, go: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), str(go)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


def write_owner(folder: Path, owner: Owner, number: int = 1) -> Path:
    place = folder / "owner" / f"{number:06d}.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(asdict(owner)))
    return place


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\nb",
        "a\n",
        "-x",
        ".x",
        "a..b",
        "x" * 65,
        "CON",
        "latest",
        "é",
    ],
)
def test_a_name_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid sweep name"):
        create_run_folder(tmp_path / "results", name)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["flow_tuning", "a", "0.1-beta", "x" * 64])
def test_a_plain_name_is_kept(name: str) -> None:
    assert check_name(name) == name


def test_a_new_run_has_its_places_an_owner_and_a_link(tmp_path: Path) -> None:
    first = create_run_folder(tmp_path / "results", "toy")
    second = create_run_folder(tmp_path / "results", "toy")
    assert first.path != second.path
    assert first.path.parent == tmp_path / "results" / "toy"
    for place in (first.events, first.series, first.tables, first.checkpoints, first.logs):
        assert place.is_dir()
    assert not first.stop_file.exists()
    latest = tmp_path / "results" / "toy" / "latest"
    assert os.readlink(latest) == second.path.name
    owner = first.owner()
    assert owner is not None
    assert (owner.pid, owner.host) == (os.getpid(), socket.gethostname())
    assert first.path.stat().st_mode & 0o777 == 0o700


def test_a_sweep_that_is_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results" / "toy").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leads out of"):
        create_run_folder(tmp_path / "results", "toy")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_owned_folder_is_refused_by_host_and_process(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path, "toy")
    with pytest.raises(
        FolderOwned, match=rf"process {os.getpid()} on {socket.gethostname()} since"
    ):
        RunFolder(folder.path).claim()
    folder.release()
    assert folder.owner() is None
    with RunFolder(folder.path).claim() as again:
        assert again.owner() is not None
    assert folder.owner() is None


@pytest.mark.fault
def test_of_processes_that_start_at_once_exactly_one_wins(tmp_path: Path) -> None:
    for round_number, stale in enumerate((False, True, True)):
        folder = tmp_path / f"run-{round_number}"
        folder.mkdir()
        if stale:  # all of them see a dead owner
            write_owner(folder, replace(Owner.of_this_process(), boot_id="an earlier boot"))
        go = folder / "go"
        children = [start_holder(folder, go) for _ in range(5)]
        time.sleep(0.5)
        go.touch()
        try:
            answers = [answer(child).split()[0] for child in children]
            assert sorted(answers) == ["owner"] + ["refused"] * 4
        finally:
            for child in children:
                kill(child)


@pytest.mark.fault
def test_a_killed_owner_frees_the_folder_at_once(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    child = start_holder(tmp_path, go)
    assert answer(child) == "owner\n"
    with pytest.raises(FolderOwned, match=f"process {child.pid} "):
        RunFolder(tmp_path).claim()
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, though nobody has reaped it
    folder = RunFolder(tmp_path).claim()
    owner = folder.owner()
    assert owner is not None
    assert owner.pid == os.getpid()
    assert [path.name for path in (tmp_path / "owner").iterdir()] == ["000002.json"]
    child.wait()


DEAD: dict[str, Callable[[Owner], Owner]] = {
    "the machine was started again": lambda me: replace(me, boot_id="earlier"),
    "its pid is another process now": lambda me: replace(me, pid_start="1"),
    "its pid is nobody's": lambda me: replace(me, pid=2**22 + 1),
    "it gave the folder up": lambda me: replace(me, released=True),
}
ALIVE: dict[str, Callable[[Owner], Owner]] = {
    "it is this very process": lambda me: me,
    "it is on another host": lambda me: replace(me, host="elsewhere", pid=2**22 + 1),
    "its pids are not ours": lambda me: replace(me, pid_namespace="pid:[1]", pid=2**22 + 1),
}


@pytest.mark.parametrize("why", DEAD)
def test_the_folder_is_free_if(why: str, tmp_path: Path) -> None:
    write_owner(tmp_path, DEAD[why](Owner.of_this_process()))
    assert RunFolder(tmp_path).owner() is None
    RunFolder(tmp_path).claim().release()


@pytest.mark.parametrize("why", ALIVE)
def test_the_folder_is_taken_however_old_the_heartbeat_if(why: str, tmp_path: Path) -> None:
    place = write_owner(tmp_path, ALIVE[why](Owner.of_this_process()))
    os.utime(place, (0, 0))
    assert RunFolder(tmp_path).owner() is not None
    with pytest.raises(FolderOwned, match="is owned by process"):
        RunFolder(tmp_path).claim()


def test_a_foreign_owner_is_freed_by_hand_as_the_message_says(tmp_path: Path) -> None:
    place = write_owner(tmp_path, replace(Owner.of_this_process(), host="elsewhere"))
    with pytest.raises(FolderOwned, match=f"if that machine is gone, delete {place}"):
        RunFolder(tmp_path).claim()
    place.unlink()
    RunFolder(tmp_path).claim()


def test_a_requeued_slurm_job_takes_over_from_its_earlier_run_on_another_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = Owner.of_this_process()
    write_owner(tmp_path, replace(me, host="node7", slurm_job="42"))
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    assert RunFolder(tmp_path).owner() is not None  # the first run of a job replaces nobody
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert RunFolder(tmp_path).owner() is None
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    assert RunFolder(tmp_path).owner() is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "a"}'])
def test_an_owner_that_cannot_be_read_is_not_taken_for_dead(text: str, tmp_path: Path) -> None:
    place = write_owner(tmp_path, Owner.of_this_process())
    place.write_text(text)
    with pytest.raises(FolderOwned, match="names no owner"):
        RunFolder(tmp_path).claim()


def test_a_heartbeat_is_seen_and_notices_a_takeover(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).claim()
    (place,) = (tmp_path / "owner").iterdir()
    os.utime(place, (0, 0))
    folder.heartbeat()
    assert time.time() - place.stat().st_mtime < 60
    place.unlink()
    RunFolder(tmp_path).claim()
    with pytest.raises(FolderOwned, match="taken over"):
        folder.heartbeat()
    folder.release()  # no longer ours to give up
    assert RunFolder(tmp_path).owner() is not None


def test_what_is_left_is_told_by_the_owner_that_said_it(tmp_path: Path) -> None:
    def left() -> float | None:
        driver = driver_of(tmp_path)
        assert driver is not None
        return driver.remaining_s

    folder = RunFolder(tmp_path).claim()
    assert left() is None
    folder.heartbeat(90.04)
    folder.heartbeat()
    assert left() == 90.0
    folder.release()
    RunFolder(tmp_path).claim()
    assert left() is None  # said by the one before


def test_a_child_of_the_owner_does_not_give_the_folder_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path).claim()
    child = multiprocessing.get_context("fork").Process(target=folder.release)
    child.start()
    child.join()
    assert folder.owner() is not None


def test_a_file_system_without_links_still_has_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(owner_module.os, "link", no_links)
    folder = RunFolder(tmp_path).claim()
    with pytest.raises(FolderOwned):
        RunFolder(tmp_path).claim()
    folder.release()
    RunFolder(tmp_path).claim()


def test_a_root_that_is_a_file_cannot_hold_results(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("")
    for place in (root, root / "below"):
        with pytest.raises(StorageError, match=f"cannot write results to {place}: "):
            probe_writable(place)
        with pytest.raises(StorageError):
            create_run_folder(place, "toy")


def _probe_as_nobody(root: Path) -> None:
    if os.getuid() == 0:
        os.setuid(65534)  # root may write anywhere
    try:
        create_run_folder(root, "toy")
    except StorageError as error:
        os._exit(6 if "Permission denied" in str(error) else 1)
    os._exit(0)


def test_a_read_only_root_is_refused_before_anything_starts() -> None:
    root = Path(os.path.realpath("/")) / "var" / "empty-flowpwm"
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_probe_as_nobody, args=(root,))
    child.start()
    child.join()
    assert child.exitcode == 6
    assert not root.exists()


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    probe_writable(tmp_path / "new" / "root")
    assert list((tmp_path / "new" / "root").iterdir()) == []


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sweeps.core.store.durable.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        create_run_folder(tmp_path, "toy")
    assert list(tmp_path.iterdir()) == []
