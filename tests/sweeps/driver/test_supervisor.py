"""The supervisor over a script that dies as it is told; real sweeps are killed in `faults`."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.core.definition.again import SUPERVISED, command_of
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import environment

# Notes its words, becomes the owner of a run folder, then does the next of what it is told.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from sweeps.core.store.folder import RunFolder, create_run_folder

here = Path(__file__).parent
with (here / "words.jsonl").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
launch = len((here / "words.jsonl").read_text().splitlines())
acts = json.loads((here / "acts.json").read_text())
act = acts[min(launch, len(acts)) - 1]
if act != "die at once":
    if "--resume" in sys.argv:
        folder = RunFolder(Path(sys.argv[sys.argv.index("--resume") + 1])).claim()
    else:
        folder = create_run_folder(Path("results"), "sweep")
    if act == "train and die":
        (folder.series / "trial").mkdir(exist_ok=True)
        with (folder.series / "trial" / "reports-001-001.arrows").open("ab") as file:
            file.write(b"row")
if act == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    (here / "waits").touch()
    time.sleep(60)
if isinstance(act, int):
    sys.exit(act)
os.kill(os.getpid(), signal.SIGKILL)
"""
SUPERVISE = """
import sys
from sweeps.core.driver.supervisor import Supervisor
sys.exit(Supervisor("sweep", sys.argv[1], sys.argv[2:], pause_s=0.1).run())
"""


def start(cwd: Path, acts: list[object], *words: str) -> subprocess.Popen[str]:
    (cwd / "script.py").write_text(SCRIPT)
    (cwd / "acts.json").write_text(json.dumps(acts))
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(cwd / "script.py"), *words],
        cwd=cwd,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(cwd: Path, acts: list[object], *words: str) -> tuple[int, list[list[str]], str]:
    """Exit code, the words of every launch, what was said."""
    process = start(cwd, acts, *words)
    _, said = process.communicate(timeout=60)
    launches = [json.loads(line) for line in (cwd / "words.jsonl").read_text().splitlines()]
    return process.returncode, launches, said


def test_a_killed_script_goes_on_in_its_folder_with_its_flags(tmp_path: Path) -> None:
    words = ["seeds=2", "--quiet", "--address", "auto", "--config", "a.yaml"]
    code, launches, said = ran(tmp_path, ["train and die", 3], *words)
    (folder,) = (tmp_path / "results" / "sweep").glob("[0-9]*")
    resumed = ["--quiet", "--address", "auto", "--resume", str(Path("results/sweep") / folder.name)]
    assert code == 3
    assert launches == [words, resumed]
    assert said.startswith("supervisor: the driver was killed by SIGKILL; started again")


def test_as_long_as_rows_come_it_is_started_again(tmp_path: Path) -> None:
    code, launches, _ = ran(tmp_path, [*["train and die"] * 5, 0])
    assert (code, len(launches)) == (0, 6)
    assert len({tuple(words) for words in launches[1:]}) == 1


@pytest.mark.parametrize("act", ["die", "die at once"])
def test_three_kills_without_a_row_are_enough(tmp_path: Path, act: str) -> None:
    code, launches, said = ran(tmp_path, [act], "seeds=2")
    assert (code, len(launches)) == (ExitCode.ERROR, 3)
    assert "3 times without a new row in between: given up" in said


def test_a_script_without_a_folder_begins_again(tmp_path: Path) -> None:
    code, launches, _ = ran(tmp_path, ["die at once", 0], "seeds=2")
    assert (code, launches) == (0, [["seeds=2"], ["seeds=2"]])


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 6, 7, 75])
def test_a_script_that_ends_by_itself_has_ended(tmp_path: Path, code: int) -> None:
    assert ran(tmp_path, [code])[:2] == (code, [[]])


def test_a_signal_is_for_the_script_and_ends_the_supervision(tmp_path: Path) -> None:
    process = start(tmp_path, ["wait"])
    deadline = time.monotonic() + 30
    while not (tmp_path / "waits").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (ExitCode.INTERRUPTED, "")


def test_a_time_limit_is_for_all_launches_together(tmp_path: Path) -> None:
    _, launches, _ = ran(tmp_path, ["train and die", 0], "--time-limit", "1h")
    assert launches[0] == ["--time-limit", "1h"]
    assert launches[1][:2] == ["--time-limit", "1h"] and launches[1][-2] == "--time-limit"
    assert 3500 < int(launches[1][-1].removesuffix("s")) < 3600


def test_the_supervisor_is_small() -> None:
    loaded = (
        "import sys, sweeps.core.driver.supervisor\n"
        "print(*(name in sys.modules for name in ('ray', 'torch')))"
    )
    out = subprocess.check_output([sys.executable, "-c", loaded], env=environment(), text=True)
    assert out == "False False\n"


def test_the_command_that_goes_on_is_supervised_where_the_driver_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = "python sweeps/single_task.py --resume results/a --time-limit 90s"
    found = command_of("single_task", Path("results/a"), ["--time-limit 90s"])
    assert found == plain
    monkeypatch.setenv(SUPERVISED, "1")
    found = command_of("single_task", Path("results/a"), ["--time-limit 90s"])
    assert found == f"{plain} --supervise"
