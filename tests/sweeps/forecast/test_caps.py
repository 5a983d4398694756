"""Caps on time, GPU-hours and disk: read with their units, told of before, kept while it runs."""

import time
from pathlib import Path

import pytest

from sweeps.core.definition import quantity
from sweeps.core.definition.command import parse
from sweeps.core.definition.settings import UsageError
from sweeps.core.forecast.caps import STOP_S, Caps, folder_bytes, gpu_hours
from sweeps.core.forecast.forecast import Forecast, Range
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN, SIZES, Process, latest, state_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("12h", 43_200), ("1h30m", 5400), ("1.5d", 129_600)],
)
def test_times_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert quantity.seconds("--time-limit", text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(7, "7 s"), (59.6, "1m"), (90, "1m30s"), (540, "9m"), (599.7, "10m"), (11100, "3h05m")],
)
def test_durations_are_written_as_they_are_read(seconds: float, text: str) -> None:
    assert quantity.duration(seconds) == text


@pytest.mark.parametrize("text", ["12", "h", "1h30", "-1h", "0m", "1w", ""])
def test_a_time_without_a_clear_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--time-limit must be"):
        quantity.seconds("--time-limit", text)


@pytest.mark.parametrize(
    ("text", "size"), [("200GB", 200 * 10**9), ("1.5 TiB", 1.5 * 2**40), ("10mb", 10**7)]
)
def test_sizes_are_read_with_their_unit(text: str, size: float) -> None:
    assert quantity.size_bytes("--max-disk", text) == size


@pytest.mark.parametrize("text", ["200", "GB", "0GB", "-1GB", "1XB"])
def test_a_size_without_a_clear_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--max-disk must be"):
        quantity.size_bytes("--max-disk", text)


def test_the_command_line_reads_every_cap() -> None:
    words = ["--time-limit", "12h", "--max-gpu-hours=8.5", "--max-disk", "200GB", "--no-canary"]
    _, options = parse(PLAN, words)
    assert (options.time_limit_s, options.max_gpu_hours, options.max_disk_bytes) == (
        43_200,
        8.5,
        200 * 10**9,
    )
    assert options.no_canary


def test_every_cap_that_is_wrong_is_named() -> None:
    with pytest.raises(UsageError) as told:
        parse(PLAN, ["--time-limit", "12", "--max-gpu-hours=-1", "--max-disk"])
    assert len(told.value.lines) == 3
    assert "--max-disk needs a value after it" in told.value.lines


def test_a_time_limit_leaves_the_time_to_save(tmp_path: Path) -> None:
    caps = Caps(time_limit_s=100.0)
    assert caps.reached([], tmp_path) is None
    caps.began = time.monotonic() - (100 - STOP_S) + 5
    assert caps.reached([], tmp_path) is None
    caps.began = time.monotonic() - (100 - STOP_S)
    assert caps.reached([], tmp_path) == "--time-limit 1m40s"


def test_gpu_hours_count_shares_over_all_attempts(tmp_path: Path) -> None:
    trials = [
        TrialRecord("a", resources={"num_gpus": 0.5}, wall_time_by_attempt_s={1: 3600, 2: 1800}),
        TrialRecord("b", resources={"num_gpus": 1}, wall_time_by_attempt_s={1: 900}),
        TrialRecord("c", resources={"num_gpus": 0}, wall_time_by_attempt_s={1: 9999}),
        TrialRecord("d", resources={"num_gpus": 1}),
    ]
    assert gpu_hours(trials) == 0.5 * 1.5 + 0.25
    # An attempt counts by what it had, not by what the next one was given.
    alone = TrialRecord("e", resources={"num_gpus": 1}, wall_time_by_attempt_s={1: 3600, 2: 360})
    alone.gpus_by_attempt = {1: 0.25}
    assert gpu_hours([alone]) == 0.25 + 0.1
    assert Caps(max_gpu_hours=1.1).reached(trials, tmp_path) is None
    assert Caps(max_gpu_hours=1.0).reached(trials, tmp_path) == "--max-gpu-hours 1 (1.00 spent)"


def test_a_folder_that_has_grown_to_its_cap_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1" * 600)
    (tmp_path / "y").write_bytes(b"1" * 400)
    assert folder_bytes(tmp_path) == 1000
    assert Caps(max_disk_bytes=1001).reached([], tmp_path) is None
    assert Caps(max_disk_bytes=1000).reached([], tmp_path) == "--max-disk 1 kB (1 kB used)"


def test_caps_that_will_be_reached_are_told_of_before() -> None:
    told = Forecast("GPU", Range(10, 8, 12), Range(36_000, 30_000, 40_000), 10**9, 0, 1, "")
    assert list(Caps().findings(told)) == []
    assert list(Caps(40_000, 11, 2 * 10**9).findings(told)) == []
    time_, gpu, disk = map(str, Caps(36_000, 9, 5 * 10**8).findings(told))
    assert time_.startswith("WARN time: about 10h00m are needed, --time-limit is 10h00m")
    assert gpu.startswith("WARN GPU-hours: about 10 are needed, --max-gpu-hours is 9")
    assert disk == "WARN disk: up to 1 GB are needed, --max-disk is 500 MB"
    # What earlier drivers spent counts.
    gpu, disk = map(str, Caps(None, 11, 2 * 10**9).findings(told, 2.5, 1.5 * 10**9))
    assert "about 10 are needed and 2.5 are spent, --max-gpu-hours is 11" in gpu
    assert disk == ("WARN disk: up to 2.5 GB are needed, 1.5 GB of it used, --max-disk is 2 GB")


def test_a_cap_on_gpu_hours_of_a_sweep_without_gpus_is_no_cap() -> None:
    told = Forecast("CPU", Range(1, 1, 1), Range(9, 9, 9), 0, 0, 1, "")
    (finding,) = Caps(max_gpu_hours=5).findings(told)
    assert finding.text == "--max-gpu-hours caps nothing: no trial asks for a GPU"


def test_nothing_is_said_of_time_where_the_nodes_are_not_known() -> None:
    told = Forecast("GPU", Range(9, 9, 9), Range(9000, 9000, 9000), 0, 0, 0, "")
    assert list(Caps(3600).findings(told)) == []


def test_a_run_that_alone_takes_longer_than_the_limit_is_named() -> None:
    hours = Range(1, 1, 1)
    told = Forecast("CPU", hours, Range(9000, 9000, 9000), 0, 0, 1, "", "flow epochs=50", 5400.0)
    (whole,) = Caps(7200).findings(told)
    assert "alone" not in whole.text
    _, alone = Caps(3600).findings(told)
    assert str(alone) == (
        "WARN time: flow epochs=50 alone needs about 1h30m, more than --time-limit 1h00m: it will "
        "save and resume"
    )


def test_who_goes_on_is_told_the_caps_again_but_not_the_one_that_is_used_up(
    tmp_path: Path,
) -> None:
    caps = Caps(5400, 40, 200 * 10**9)
    disk = "--max-disk 200GB"
    assert caps.flags("SIGTERM") == ["--time-limit 5400s", "--max-gpu-hours 40", disk]
    assert caps.flags("--max-gpu-hours 40 (40.02 spent)") == ["--time-limit 5400s", disk]
    assert caps.flags("--time-limit 1h30m")[0] == "--time-limit 5400s"
    assert Caps().flags("SIGTERM") == []
    cause = Caps(max_disk_bytes=1).reached([], _folder_of(tmp_path, 2))
    assert cause is not None and Caps(max_disk_bytes=1).flags(cause) == []


def _folder_of(folder: Path, size: int) -> Path:
    (folder / "file").write_bytes(bytes(size))
    return folder


@pytest.mark.long
def test_a_sweep_that_reaches_a_cap_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    endless = [*SIZES, "epochs=100000", "integrator=[euler]", "substeps=[1]", "screen.trials=1"]
    # A cap that training itself reaches, however long it takes to start here.
    process = Process(tmp_path, *endless, "--max-disk", "300KB", "--no-canary", "--yes")
    try:
        assert process.end() == ExitCode.CAPPED, process.text
    finally:
        process.kill()
    assert "WARN disk: up to" in process.text
    assert "flow_tuning interrupted by --max-disk 300 kB (" in process.text
    (go_on,) = [line for line in process.text.splitlines() if line.startswith("go on")]
    assert go_on.endswith(f"--resume {latest(tmp_path).relative_to(tmp_path)}")  # with another cap
    (trial,) = state_of(latest(tmp_path)).trials.values()
    assert trial.status == "INTERRUPTED" and trial.epochs_done > 0
    assert (latest(tmp_path) / "checkpoints" / trial.trial_id / "last" / "training.pt").exists()
