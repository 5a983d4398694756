"""What the lint learns from earlier sweeps in the same results folder, however broken they are."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sweeps.core.check.lint import baseline, earlier, power, seeds
from sweeps.core.check.lint.earlier import MOST_RUNS, earlier_runs
from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver.resume import open_run
from sweeps.core.protocol.plan import make_plan
from sweeps.core.reference.welch import detectable
from sweeps.core.store.compact import compact
from sweeps.core.store.events import EventLog
from tests.sweeps.tiny import PLAN, asked

MLP, FLOW = (700.0, 760.0, 820.0), (850.0, 860.0, 870.0)
CARTPOLE = asked("task=cartpole-swingup", "arms=[mlp,flow]", "seeds=[7,8,9]")


def ran(
    results: Path,
    sweep: Sweep,
    scores: Mapping[str, Sequence[float | None]],
    name: str = "20260101T000000-aaaa",
) -> Path:
    """A finished run of a sweep, with these scores of each arm on its test seeds."""
    folder = results / sweep.name / name
    (folder / "events").mkdir(parents=True)
    with EventLog(folder, "driver") as log:
        recorder, _ = open_run(folder, log, sweep, {})
        for arm, values in scores.items():
            for seed, score in zip(sweep.confirm.seeds, values, strict=True):
                cell = {} if sweep is PLAN else {"task": sweep.tasks[0]}
                plan = make_plan(sweep, arm, "confirm", cell, seed)
                recorder.planned(plan)
                where = {"attempt": 1, "epoch": 0, "env_steps": 0}
                recorder.started(plan.trial_id, where)
                end = where | {"epoch": plan.config.epochs, "env_steps": plan.budget}
                recorder.ended(plan.trial_id, "completed", end | {"score": score})
    return folder


def told(module, sweep: Sweep, results: Path) -> list[str]:
    runs = earlier_runs(results, sweep.tasks)
    return [finding.text for finding in module.findings(sweep, check(sweep), runs)]


def test_the_noise_is_that_of_earlier_runs_where_there_are_any(tmp_path: Path) -> None:
    ran(tmp_path, CARTPOLE, {"mlp": MLP, "flow": FLOW})
    (text,) = told(power, CARTPOLE, tmp_path)
    # sd 60 and 10 about their own means, two degrees of freedom each; the baseline's mean is 760.
    sd = math.sqrt((60**2 + 10**2) / 2)
    least = detectable(sd, 3)
    assert f"find a difference of {least:.0f} ({least / 760:.0%}) on" in text
    assert "the margin is 38 (5%)" in text
    assert text.endswith(f"(noise over seeds {sd:.0f}: 6 earlier trials)")


def test_tables_that_outlived_their_events_say_the_same(tmp_path: Path) -> None:
    folder = ran(tmp_path, CARTPOLE, {"mlp": MLP, "flow": FLOW})
    before = told(power, CARTPOLE, tmp_path)
    compact(folder)
    shutil.rmtree(folder / "events")
    assert told(power, CARTPOLE, tmp_path) == before


def test_a_run_made_twice_counts_once_the_newest(tmp_path: Path) -> None:
    ran(tmp_path, CARTPOLE, {"mlp": (1.0, 2.0, 3.0), "flow": FLOW})
    ran(tmp_path, CARTPOLE, {"mlp": MLP, "flow": FLOW}, "20260102T000000-bbbb")
    (text,) = told(power, CARTPOLE, tmp_path)
    assert "6 earlier trials" in text and "the margin is 38 (5%)" in text


@pytest.mark.parametrize(
    "other",
    [
        asked("task=cartpole-swingup", "arms=[mlp,flow]", "seeds=[7,8,9]", "epochs=250"),
        asked("task=reacher-easy", "arms=[mlp,flow]", "seeds=[7,8,9]"),
    ],
    ids=["another length", "another task"],
)
def test_runs_that_do_not_compare_are_left_out(other: Sweep, tmp_path: Path) -> None:
    ran(tmp_path, other, {"mlp": MLP, "flow": FLOW})
    (text,) = told(power, CARTPOLE, tmp_path)
    assert "on record for laptop runs of 153,600 env steps" in text


def test_seeds_that_an_earlier_sweep_tuned_on_are_named(tmp_path: Path) -> None:
    ran(tmp_path, PLAN, {})
    clash = asked("task=cartpole-swingup", "arms=[mlp,flow]", "seeds=[0,42,100]")
    assert told(seeds, clash, tmp_path) == [
        "0, 100 on cartpole-swingup were tuning seeds of flow_tuning/20260101T000000-aaaa; arms "
        "that were chosen there are flattered. seeds=N takes N from 1000 on, where nothing is "
        "tuned"
    ]
    assert told(seeds, CARTPOLE, tmp_path) == []
    elsewhere = asked("task=reacher-easy", "arms=[mlp,flow]", "seeds=[0,42,100]")
    assert told(seeds, elsewhere, tmp_path) == []
    assert told(seeds, PLAN, tmp_path) == []  # its test seeds are no tuning seeds


LONG = asked("task=walker-stand", "arms=[mlp,flow]", "seeds=[7,8,9]", "epochs=4000")  # 1,024,000


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ((400.0, 410.0, 420.0), "mlp reached 410 on walker-stand in 3 earlier trials"),
        ((900.0, 905.0, 910.0), ""),  # below 930 by less than the margin
        ((960.0, 970.0, 980.0), ""),
    ],
)
def test_a_baseline_outside_of_what_was_published_is_told(
    scores: Sequence[float], says: str, tmp_path: Path
) -> None:
    ran(tmp_path, LONG, {"mlp": scores})
    texts = told(baseline, LONG, tmp_path)
    assert len(texts) == bool(says)
    for text in texts:
        assert text.startswith(says)
        assert "published are 930.3 to 991.5 at 1,000,000 env steps" in text


def test_a_short_run_is_not_held_against_long_ones(tmp_path: Path) -> None:
    short = asked("task=walker-stand", "arms=[mlp,flow]", "seeds=[7,8,9]", "epochs=600")
    ran(tmp_path, short, {"mlp": (1.0, 2.0, 3.0)})
    assert told(baseline, short, tmp_path) == told(baseline, LONG, tmp_path) == []


def test_a_broken_folder_says_nothing_and_stops_nothing(tmp_path: Path) -> None:
    good = ran(tmp_path, CARTPOLE, {"mlp": MLP, "flow": FLOW})
    expected = lint(CARTPOLE, check(CARTPOLE), earlier_runs(tmp_path, CARTPOLE.tasks))
    spec = (good / "sweep.yaml").read_bytes()
    broken = {
        "b0": {"sweep.yaml": b""},
        "b1": {"sweep.yaml": b"\xff\xfe\x00"},
        "b2": {"sweep.yaml": b"[1, 2"},
        "b3": {"sweep.yaml": b"- a list"},
        "b4": {"sweep.yaml": b"tasks: 7"},
        "b5": {"sweep.yaml": b"tasks: [cartpole-swingup]\nscreen: 5"},
        "b6": {"sweep.yaml": b"tasks: [cartpole-swingup]\nscreen: {seeds: {a: []}}"},
        "b7": {"sweep.yaml": spec, "events/driver-0000.jsonl": b"not json\n{}\n"},
        "b8": {"sweep.yaml": spec, "tables/MANIFEST-000001.json": b"{}"},
        "b9": {"sweep.yaml": spec, "events": b"a file"},
    }
    for name, files in broken.items():
        for path, content in files.items():
            target = tmp_path / "single_task" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    (tmp_path / "single_task" / "c0").mkdir()
    (tmp_path / "single_task" / "c0" / "sweep.yaml").mkdir()
    (tmp_path / "single_task" / "c1").symlink_to("nowhere")
    (tmp_path / "single_task" / "latest").symlink_to(good.name)
    found = earlier_runs(tmp_path, CARTPOLE.tasks)
    assert lint(CARTPOLE, check(CARTPOLE), found) == expected
    assert statistics.mean(t.score for run in found for t in run.trials) == 810.0


def test_a_folder_that_is_not_there_has_no_earlier_runs(tmp_path: Path) -> None:
    assert earlier_runs(tmp_path / "nowhere", CARTPOLE.tasks) == []


def test_trials_without_a_score_and_the_run_that_is_resumed_are_left_out(tmp_path: Path) -> None:
    folder = ran(tmp_path, CARTPOLE, {"mlp": (None, 760.0, 820.0)})
    (run,) = earlier_runs(tmp_path, CARTPOLE.tasks)
    assert sorted(trial.score for trial in run.trials) == [760.0, 820.0]
    assert earlier_runs(tmp_path, CARTPOLE.tasks, without=folder) == []


def test_a_history_that_takes_long_to_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(tmp_path, CARTPOLE, {"mlp": MLP})
    monkeypatch.setattr(earlier, "MOST_BYTES", 1000)
    (run,) = earlier_runs(tmp_path, CARTPOLE.tasks)
    assert run.trials == () and run.tasks == CARTPOLE.tasks


def test_only_the_newest_runs_are_read(tmp_path: Path) -> None:
    for number in range(MOST_RUNS + 3):
        folder = tmp_path / "single_task" / f"202601{number:02d}T000000-aaaa"
        (folder / "events").mkdir(parents=True)
        (folder / "sweep.yaml").write_text("tasks: [cartpole-swingup]")
    names = [run.name for run in earlier_runs(tmp_path, CARTPOLE.tasks)]
    assert len(names) == MOST_RUNS
    assert names[0] == f"single_task/202601{MOST_RUNS + 2:02d}T000000-aaaa"
