"""What a sweep says: a block that is redrawn on a terminal, plain lines elsewhere."""

import io
from pathlib import Path

import pytest

from sweeps.core.check.sweep import check
from sweeps.core.definition.quantity import duration
from sweeps.core.driver.interrupt import Interrupts
from sweeps.core.driver.outcome import exit_code
from sweeps.core.forecast.forecast import forecast
from sweeps.core.forecast.rates import Correction
from sweeps.core.forecast.remaining import Remaining
from sweeps.core.pages.console import Console
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.events import EventLog
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.state import TrialRecord
from tests.sweeps.tiny import PLAN

REMAINING = Remaining(PLAN, forecast(PLAN, check(PLAN), 2, Correction()), Correction())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(console: Console, folder: Path, trials: int = 1) -> Recorder:
    """Trials that start; the first ends in a failure."""
    recorder = Recorder(EventLog(folder, "driver"))
    console.watch(PLAN, recorder, REMAINING)
    for substeps in range(1, trials + 1):
        plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": substeps}, 0)
        recorder.planned(plan)
        recorder.sweep("stage_started", stage="screen")
        where = {"attempt": 1, "epoch": 0, "env_steps": 0, "log_path": "logs/a-001.log"}
        recorder.started(plan.trial_id, where)
        recorder.progressed(plan.trial_id, where | {"epoch": 150, "score": 12.5, "kind": "e"})
        if substeps == 1:
            failure = {"failure_class": "diverged", "message": "Diverged: loss is nan"}
            recorder.ended(plan.trial_id, "failed", where | failure | {"epoch": 152})
    return recorder


def redraw(console: Console) -> None:
    console._next_tick = 0.0
    console.tick()


def test_a_log_gets_a_line_for_each_event_and_no_control_characters(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    play(console, tmp_path)
    redraw(console)
    console.close()
    text = stream.getvalue()
    assert "\x1b" not in text
    start, fail, numbers, best = text.splitlines()
    assert "start screen c" in start and "substeps=1" in start
    assert "diverged at epoch 152: Diverged: loss is nan (log: logs/a-001.log)" in fail
    assert "run 0" in numbers and "failed 1" in numbers
    assert "screening, biased, n=1" in best and "score 12.5  flow" in best


def test_hours_that_are_spent_stand_beside_those_that_were_forecast(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    recorder = play(console, tmp_path, trials=2)
    trial = recorder.trials()[-1]
    recorder.progressed(
        trial.trial_id, {"attempt": 1, "epoch": 160, "env_steps": 9, "wall_time_s": 1800.0}
    )
    redraw(console)
    cpus = trial.resources["num_cpus"]
    assert f"  CPU-h {0.5 * cpus:.2g}/{REMAINING.hours:.2g}" in stream.getvalue()
    later = Remaining(
        PLAN, forecast(PLAN, check(PLAN), 2, Correction()), Correction(), recorder.trials()
    )
    assert later.hours == pytest.approx(REMAINING.hours + 0.5 * cpus)


def test_a_checkpoint_that_storage_did_not_take_is_told_of_once(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    recorder = play(console, tmp_path, trials=2)
    trial = recorder.trials()[-1]
    told = {"attempt": 1, "env_steps": 9, "log_path": "logs/a-001.log"}
    for epoch, unsaved in ((160, 1), (170, 1), (180, 3)):
        recorder.progressed(trial.trial_id, told | {"epoch": epoch, "unsaved": unsaved})
    lines = [line for line in stream.getvalue().splitlines() if "WARN" in line]
    assert len(lines) == 2
    assert lines[0].endswith(
        f"WARN  {trial.trial_id} at epoch 160: storage did not take 1 checkpoint, the one before "
        "is kept (log: logs/a-001.log)"
    )
    assert "at epoch 180: storage did not take 3 checkpoints" in lines[1]
    # Said with its end, it does not stand in the place of that.
    recorder.ended(trial.trial_id, "completed", told | {"epoch": 200, "unsaved": 4})
    *_, warning, end = stream.getvalue().splitlines()
    assert "did not take 4 checkpoints" in warning and "done  screen" in end


def test_a_terminal_gets_one_block_that_is_erased_before_the_next(tmp_path: Path) -> None:
    stream = Terminal()
    console = Console(stream)
    play(console, tmp_path, trials=20)
    redraw(console)
    block = stream.getvalue().splitlines()
    before = len(stream.getvalue())
    redraw(console)
    again = stream.getvalue()[before:]
    lines = again.count("\n")
    assert again.startswith(f"\x1b[{lines}A\x1b[J")
    assert lines <= 20
    assert sum("FAIL" in line and line[0] != " " for line in block if line) == 1  # stays on screen
    before = len(stream.getvalue())
    console.close()
    assert stream.getvalue()[before:] == f"\x1b[{lines}A\x1b[J"


def test_quiet_leaves_only_what_is_always_shown(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream, quiet=True)
    console.page("plan")
    play(console, tmp_path)
    redraw(console)
    console.page("result", always=True)
    assert stream.getvalue() == "result\n"


def test_durations_are_short() -> None:
    assert [duration(s) for s in (7.4, 61, 3540, 11_100)] == ["7 s", "1m01s", "59m", "3h05m"]


def trial(status: str, cause: str | None = None) -> TrialRecord:
    return TrialRecord("t", status=status, failure_class=cause)


@pytest.mark.parametrize(
    ("trials", "finished", "code"),
    [
        ([trial("COMPLETED"), trial("STOPPED")], True, ExitCode.OK),
        ([trial("COMPLETED"), trial("FAILED", "error")], True, ExitCode.FAILED_TRIALS),
        ([trial("COMPLETED")], False, ExitCode.FAILED_TRIALS),
        ([trial("FAILED", "error")], False, ExitCode.ERROR),
        ([trial("COMPLETED"), trial("FAILED", "storage")], True, ExitCode.STORAGE),
        ([trial("EVALUATED")], True, ExitCode.OK),
    ],
)
def test_the_exit_code_says_how_a_sweep_ended(
    trials: list[TrialRecord], finished: bool, code: ExitCode
) -> None:
    assert exit_code(trials, finished=finished) == code


def test_a_stop_asked_for_early_reaches_the_workers_once_there_is_a_folder(tmp_path: Path) -> None:
    interrupts = Interrupts()
    interrupts.request()
    interrupts.tell_workers_by(tmp_path / "stop")
    assert interrupts.requested and (tmp_path / "stop").exists()


def test_an_output_that_takes_nothing_ends_no_sweep() -> None:
    with pytest.raises(OSError, match="No space left"), open("/dev/full", "w") as full:
        Console(full).page("a page")  # raises nothing; closing the file does
        reached = True
    assert reached
