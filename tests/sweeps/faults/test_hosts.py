"""What a machine does to a trial: no memory, a stuck call, a clock that jumps (F29, F31, F34)."""

import functools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sweeps.core.host.cgroup import oom_kills
from sweeps.core.protocol.plan import make_plan
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.protocol.retries import Retries
from sweeps.core.store import events
from sweeps.core.store.events import EventLog, fold, read_events
from sweeps.core.store.series import read_series
from sweeps.core.worker.triallog import timed_out
from sweeps.core.worker.watchdog import Limits
from tests.sweeps.faults import trouble
from tests.sweeps.faults.processes import EPOCHS, TRIAL, Child, learned, run, train
from tests.sweeps.faults.steps import Nothing
from tests.sweeps.misbehaving import MIB, TRAINED
from tests.sweeps.tiny import PLAN

pytestmark = pytest.mark.fault

GROUP_BYTES = 400 * MIB
MEMORY = Path("/sys/fs/cgroup/memory")  # the first version of control groups


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group of our own, with a limit."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.split(":", 2)[2] for line in lines if ":memory:" in line), None)
    if own is None:
        pytest.skip("no memory control group of the first version here")
    folder = MEMORY / own.lstrip("/") / f"flowpwm-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(GROUP_BYTES))
    except OSError as error:
        pytest.skip(f"a control group cannot be made here: {error}")
    yield folder
    folder.rmdir()


def test_a_trial_that_the_kernel_kills_for_memory_is_told_from_other_kills(
    group: Path, tmp_path: Path
) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text(f"4:memory:/{group.relative_to(MEMORY)}\n")
    plan = make_plan(PLAN, "flow", "screen", {"world_model.substeps": 1}, 0)
    recorder = Recorder(EventLog(tmp_path, "driver"))
    recorder.planned(plan)
    recorder.started(plan.trial_id, {"attempt": 1, "epoch": 0, "env_steps": 0})
    again: list[str] = []
    retries = Retries(
        tmp_path,
        recorder,
        again.append,
        lambda: 8 * 2**30,
        lambda: oom_kills(membership=membership),
    )
    join = functools.partial(trouble.join_group, group / "cgroup.procs")
    leaky = "tests.sweeps.misbehaving:LeakyEpoch"
    changes = {"task": leaky, "num_envs": TRAINED, "horizon": 4, "epochs": 1000}
    child = Child(train, tmp_path / "run", Nothing(), changes, join)
    assert child.end() is None and child.code == -9
    assert oom_kills(membership=membership) == 1

    retries.died(plan.trial_id, "killed", "the worker process died")
    (failure,) = recorder.state.trials[plan.trial_id].failures
    assert failure.failure_class == "oom_host"
    assert failure.message == "the kernel killed the worker for memory"
    assert again == [plan.trial_id]
    retries.died(plan.trial_id, "killed", "the worker process died")  # by anybody else
    assert len(recorder.state.trials[plan.trial_id].failures) == 1


def test_a_call_that_stops_even_the_watchdog_is_ended_with_its_stack(
    expected: dict[str, list], tmp_path: Path
) -> None:
    before = functools.partial(trouble.at_epoch, 3, trouble.hold_interpreter)
    limits = Limits(hang_s=3.0, hang_epochs=1.0, sample_s=0.2)
    child = Child(train, tmp_path, Nothing(), {}, before, limits)
    assert child.end() is None and child.code == 1
    log = tmp_path / "logs" / f"{TRIAL}-001.log"
    assert "in hold_interpreter" in log.read_text() and timed_out(log)
    assert read_series(tmp_path, "reports")["epoch"].to_pylist() == [1, 2]
    assert run(tmp_path)["epoch"] == EPOCHS
    assert learned(tmp_path) == expected


@pytest.mark.parametrize("seconds", [-86_400, 365 * 86_400], ids=["back", "ahead"])
def test_a_clock_that_jumps_changes_no_row(
    seconds: int, expected: dict[str, list], tmp_path: Path
) -> None:
    jump = functools.partial(trouble.turn_clock, seconds)
    before = functools.partial(trouble.at_epoch, 3, jump)
    result, _ = Child(train, tmp_path, Nothing(), {}, before).end()
    assert (result["outcome"], result["epoch"]) == ("completed", EPOCHS)
    assert learned(tmp_path) == expected
    assert 0 < result["wall_time_s"] < 300


def test_events_stay_in_order_when_the_clock_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards(datetime):
        left = iter(range(2030, 1990, -1))

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(next(cls.left), 1, 1, tzinfo=UTC)

    monkeypatch.setattr(events, "datetime", Backwards)
    for attempt in (1, 2):  # two drivers, the second one in an earlier year
        with EventLog(tmp_path, "driver") as log:
            log.append("started", "t", attempt=attempt)
            log.append("progress", "t", attempt=attempt, epoch=attempt)
    log_of = [(e["attempt"], e["event"]) for e in read_events(tmp_path)]
    assert log_of == [(1, "started"), (1, "progress"), (2, "started"), (2, "progress")]
    trial = fold(read_events(tmp_path)).trials["t"]
    assert (trial.attempt, trial.epochs_done) == (2, 2)
