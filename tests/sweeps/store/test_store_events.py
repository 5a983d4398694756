"""The event log: what is written comes back, and damage costs no more than its own line."""

import json
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from sweeps.core.store.durable import AppendFile
from sweeps.core.store.events import EventLog, event_files, read_events, scan_events


def write_three(folder: Path) -> Path:
    with EventLog(folder, "driver") as log:
        log.append("sweep_started", spec={"name": "toy"})
        log.append("progress", "c1-s0", attempt=1, epoch=3, score=0.5)
        log.append("sweep_finished", exit_code=0)
        return log.path


def test_events_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_three(tmp_path)
    events = read_events(tmp_path)
    assert [event["event"] for event in events] == ["sweep_started", "progress", "sweep_finished"]
    assert [event["seq"] for event in events] == [0, 1, 2]
    assert events[0]["trial_id"] is None
    assert events[1]["trial_id"] == "c1-s0"
    assert (events[1]["epoch"], events[1]["score"]) == (3, 0.5)


def test_a_line_is_strict_json_that_ends_with_the_checksum_of_the_rest(tmp_path: Path) -> None:
    line = write_three(tmp_path).read_bytes().splitlines()[1]
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"not strict: {name}"))
    crc = record.pop("crc")
    body = json.dumps(record, separators=(",", ":")).encode()
    assert int(crc, 16) == zlib.crc32(body)


def test_a_log_cut_at_any_byte_keeps_every_whole_line(tmp_path: Path) -> None:
    path = write_three(tmp_path)
    data = path.read_bytes()
    ends = [index for index, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        scan = scan_events(tmp_path)
        # A line is whole with or without its newline.
        assert len(scan.events) == sum(end <= size for end in ends), size
        assert scan.corrupt == {}
        in_a_line = size > 0 and size - 1 not in ends and size not in ends
        assert scan.torn == ([path] if in_a_line else []), size


def test_a_flipped_byte_anywhere_costs_at_most_its_line_and_is_told(tmp_path: Path) -> None:
    path = write_three(tmp_path)
    data = path.read_bytes()
    original = read_events(tmp_path)
    for index in range(len(data)):
        path.write_bytes(data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1 :])
        scan = scan_events(tmp_path)
        assert all(event in original for event in scan.events), index
        # A damaged newline joins two lines.
        lost = 2 if data[index] == ord("\n") and index < len(data) - 1 else 1
        assert len(scan.events) == 3 - lost, index
        assert scan.corrupt or scan.torn, index


def test_a_damaged_line_is_warned_about(tmp_path: Path) -> None:
    path = write_three(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"epoch":3', b'"epoch":4'))
    with pytest.warns(UserWarning, match="1 damaged event line"):
        assert len(read_events(tmp_path)) == 2


def test_order_is_by_writer_and_never_by_the_clock(tmp_path: Path) -> None:
    for writer in ("zeta", "alpha"):  # alpha comes later, though its name and clock say otherwise
        with EventLog(tmp_path, writer) as log:
            log.append("resumed", host=writer)
    assert [path.name for path in event_files(tmp_path)] == ["zeta-0000.jsonl", "alpha-0001.jsonl"]
    assert [event["host"] for event in read_events(tmp_path)] == ["zeta", "alpha"]


def test_a_second_log_of_the_same_writer_is_a_new_file(tmp_path: Path) -> None:
    with EventLog(tmp_path, "driver") as one, EventLog(tmp_path, "driver") as two:
        assert one.path != two.path


def test_values_become_plain_json_and_nan_becomes_null(tmp_path: Path) -> None:
    with EventLog(tmp_path, "driver") as log:
        log.append(
            "progress",
            "t",
            score=float("nan"),
            bounds=(np.float32(0.5), float("inf")),
            counts=np.array([1, 2]),
            epoch=np.int64(2**40),
            log_path=Path("logs/t.log"),
            text="é 漢 🦒 \u2028 \ud800",
        )
    (event,) = read_events(tmp_path)
    assert event["score"] is None
    assert event["bounds"] == [0.5, None]
    assert event["counts"] == [1, 2]
    assert event["epoch"] == 1_099_511_627_776
    assert event["log_path"] == "logs/t.log"
    assert event["text"] == "é 漢 🦒 \u2028 \ud800"


def test_wrong_calls_name_what_is_wrong(tmp_path: Path) -> None:
    with EventLog(tmp_path, "driver") as log:
        with pytest.raises(ValueError, match="unknown event 'strated'; known: sweep_started, "):
            log.append("strated")
        with pytest.raises(ValueError, match=r"\['seq'\] belong to the header"):
            log.append("progress", "t", seq=4)
        with pytest.raises(TypeError, match=r"'a\.b' has type object"):
            log.append("progress", "t", a={"b": object()})
        log.append("resumed")
    assert [event["seq"] for event in read_events(tmp_path)] == [0]
    with pytest.raises(ValueError, match=r"got '\.\./x'"):
        EventLog(tmp_path, "../x")


def test_only_progress_may_be_lost_in_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    with EventLog(tmp_path, "driver") as log:
        monkeypatch.setattr("sweeps.core.store.durable.os.fsync", synced.append)
        log.append("progress", "t", epoch=1)
        assert len(synced) == 0
        log.append("rung", "t", bracket=0, milestone=10, decision="stop")
        assert len(synced) == 1
        monkeypatch.undo()


@pytest.mark.parametrize("written", [0, 1, 40])
def test_a_full_disk_leaves_whole_lines_and_the_next_append_works(
    written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(fd: int, data: memoryview) -> int:
        if written and not full_already:
            full_already.append(True)
            return real(fd, data[:written])
        raise OSError(28, "No space left on device")

    full_already: list[bool] = []
    with EventLog(tmp_path, "driver") as log:
        log.append("sweep_started")
        monkeypatch.setattr("sweeps.core.store.durable.os.write", full)
        with pytest.raises(OSError, match="No space left"):
            log.append("resumed")
        assert [event["event"] for event in read_events(tmp_path)] == ["sweep_started"]
        assert log.path.read_bytes().endswith(b"\n")
        monkeypatch.undo()
        log.append("sweep_finished", exit_code=0)
    scan = scan_events(tmp_path)
    assert [event["seq"] for event in scan.events] == [0, 1]
    assert (scan.torn, scan.corrupt) == ([], {})


def test_a_rollback_that_fails_too_is_made_up_for_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def torn(fd: int, data: memoryview) -> int:
        real(fd, data[:3])
        raise OSError(5, "Input/output error")

    def broken(fd: int, size: int) -> None:
        raise OSError(5, "Input/output error")

    file = AppendFile(tmp_path / "f")
    file.append(b"one\n", sync=True)
    monkeypatch.setattr("sweeps.core.store.durable.os.write", torn)
    monkeypatch.setattr("sweeps.core.store.durable.os.ftruncate", broken)
    with pytest.raises(OSError, match="Input/output"):
        file.append(b"two\n", sync=True)
    monkeypatch.undo()
    assert file.path.read_bytes() == b"one\ntwo"
    file.append(b"three\n", sync=True)
    file.close()
    file.close()
    assert file.path.read_bytes() == b"one\nthree\n"


WRITER = """
import sys
from pathlib import Path
from sweeps.core.store.events import EventLog
log = EventLog(Path(sys.argv[1]), "driver")
for epoch in range(10**9):
    log.append("progress", "t", epoch=epoch)
    if epoch == 200:
        print("going", flush=True)
"""


@pytest.mark.fault
def test_a_writer_killed_at_work_loses_nothing_it_had_appended(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "going\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    scan = scan_events(tmp_path)
    assert [event["epoch"] for event in scan.events] == list(range(len(scan.events)))
    assert len(scan.events) > 200
    assert scan.corrupt == {}


def test_a_folder_without_events_has_none(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []
