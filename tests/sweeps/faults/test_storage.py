"""Storage that is full, read-only, broken or slow (F13 to F18): training waits or goes on."""

import errno
import functools
import shutil
import time
from pathlib import Path

import pytest

from flowpwm.storage import verify
from sweeps.core.driver.main import main
from sweeps.core.store.compact import compact, read_tables
from sweeps.core.store.events import EventLog, read_events, scan_events
from sweeps.core.store.patience import Patience
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.series import read_series
from tests.sweeps.faults import trouble
from tests.sweeps.faults.disks import fill, make_room, remount, small_disk
from tests.sweeps.faults.drivers import SMALL, drive, own
from tests.sweeps.faults.processes import EPOCHS, TRIAL, Child, learned, left_over, run, train
from tests.sweeps.faults.steps import Nothing, Refuse, Slow
from tests.sweeps.store.conftest import write_sweep

pytestmark = pytest.mark.fault

LAST = f"checkpoints/{TRIAL}/last"
LOG = f"logs/{TRIAL}-001.log"
ROOM = 200 * 1024  # for rows, the log and the best networks, not for a whole checkpoint


@pytest.mark.parametrize(("epoch", "saved"), [(2, 1), (3, EPOCHS)], ids=["only", "oldest"])
def test_a_checkpoint_that_does_not_fit_is_skipped_or_the_oldest_makes_room(
    epoch: int, saved: int, expected: dict[str, list], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = disk / "run"
        full = functools.partial(trouble.fill_disk, disk, ROOM)
        before = functools.partial(trouble.at_epoch, epoch, full)
        result, _ = Child(train, folder, Nothing(), {}, before).end()
        assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
        assert learned(folder) == expected
        assert left_over(folder) == []
        # The only good one is never given up.
        assert verify(folder / LAST)["epoch"] == saved
        log = (folder / LOG).read_text()
        assert ("checkpoints skipped: " in log) is (saved < EPOCHS)


@pytest.mark.parametrize("stopped", [False, True], ids=["room", "stop"])
def test_rows_wait_for_room_and_none_is_lost(
    stopped: bool, expected: dict[str, list], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = disk / "run"
        full = functools.partial(trouble.fill_disk, disk, 0)
        child = Child(train, folder, Nothing(), {}, functools.partial(trouble.at_epoch, 3, full))
        child.wait_for((disk / "ballast").exists)
        time.sleep(1.5)
        assert child.process.is_alive()
        # A row more may fit into the last block of its file.
        assert read_series(folder, "reports")["epoch"].to_pylist() in ([1, 2], [1, 2, 3])
        (folder / "stop").touch() if stopped else make_room(disk)
        result, _ = child.end()
        if stopped:
            assert (result["outcome"], result["failure_class"]) == ("interrupted", "storage")
            make_room(disk)
            (folder / "stop").unlink()
            result = run(folder)
        assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
        assert learned(folder) == expected
        assert left_over(folder) == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_storage_that_fails_for_a_second_costs_nothing(
    code: int, expected: dict[str, list], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    result, _ = Child(train, folder, Refuse("write series", 2, code, 1.0), {}).end()
    assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
    assert learned(folder) == expected
    assert left_over(folder) == []
    assert "storage takes writes again" in (folder / LOG).read_text()


def test_storage_that_stays_broken_fails_the_trial_which_can_go_on_later(
    expected: dict[str, list], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    breakage = Refuse("write series", 2, errno.ENOSPC, 60.0)
    result, _ = Child(train, folder, breakage, {}, trouble.give_up_soon).end()
    assert (result["outcome"], result["failure_class"]) == ("failed", "storage")
    assert "No space left" in result["message"]
    assert run(folder)["outcome"] == "completed"
    assert learned(folder) == expected


def test_a_slow_fsync_only_takes_time(expected: dict[str, list], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result, _ = Child(train, folder, Slow(0.02), {}).end()
    assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
    assert learned(folder) == expected


def test_a_read_only_place_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        remount(disk, "ro")
        began = time.monotonic()
        assert main(SMALL, [f"results={disk / 'results'}"]) == ExitCode.STORAGE
        assert time.monotonic() - began < 20
        said = capsys.readouterr().err
        assert str(disk) in said and said.endswith("Nothing was started.\n")
        remount(disk, "rw")
        assert list(disk.iterdir()) == []


def test_a_full_folder_of_rays_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("RAY_TMPDIR", str(disk / "not-made-yet"))
        assert main(SMALL, [f"results={tmp_path / 'results'}"]) == ExitCode.STORAGE
        said = capsys.readouterr().err
        assert f"Ray keeps its own files in {disk / 'not-made-yet'}, which has 5 MB free" in said
        assert said.endswith("Nothing was started.\n") and not (tmp_path / "results").exists()


def test_tables_that_do_not_fit_leave_the_events_and_can_be_made_later(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = disk / "run"
        folder.mkdir()
        write_sweep(folder)
        events, rows = read_events(folder), read_tables(folder).reports.to_pylist()
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            compact(folder)
        assert list((folder / "tables").iterdir()) == []
        assert read_events(folder) == events
        make_room(disk)
        compact(folder)
        assert read_tables(folder).reports.to_pylist() == rows


def test_a_sweep_whose_tables_do_not_fit_ends_with_6_and_a_resume_makes_them(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        folder = own(disk)
        Child(drive, folder, SMALL, Nothing()).end()
        words = ["--resume", str(folder)]
        fill(disk, 8192)
        assert Child(main, SMALL, words).end() == ExitCode.STORAGE
        assert scan_events(folder).corrupt == {}
        assert left_over(folder) == []
        make_room(disk)
        assert Child(main, SMALL, words).end() == ExitCode.OK
        assert read_tables(folder).trials.num_rows > 0
        assert (folder / "report.html").exists()


def test_an_event_waits_for_room_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        said: list[str] = []
        folder = disk / "run"
        with EventLog(folder, "driver", Patience(20.0, say=said.append)) as log:
            log.append("sweep_started", spec={"text": "x" * 4000})
            fill(disk)
            give_up = [False]
            log._patience = Patience(20.0, lambda: give_up[0], said.append)
            give_up[0] = True
            with pytest.raises(OSError, match="No space"):
                log.append("stage_started", stage="y" * 8000)
            log._patience = Patience(20.0, lambda: bool(make_room(disk)), said.append)
            log.append("stage_started", stage="y" * 8000)
        assert [event["seq"] for event in read_events(folder)] == [0, 1]
        assert scan_events(folder).torn == []
        assert said[-1].startswith("storage takes writes again")
        assert said[-2].startswith("storage: [Errno 28]")
        shutil.rmtree(folder)
