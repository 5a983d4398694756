"""Going on in a run folder with more than it had: the files, the events, and crashes in between."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver.beginning import begin
from sweeps.core.driver.resume import keep_spec, open_run
from sweeps.core.protocol.recorder import Recorder
from sweeps.core.store.events import EventLog, fold, read_events
from tests.sweeps.tiny import COMPARE

MORE = dataclasses.replace(
    COMPARE, confirm=dataclasses.replace(COMPARE.confirm, seeds=(42, 123, 7))
)


def opened(folder: Path, sweep: Sweep, *, extended: bool = False) -> Recorder:
    with EventLog(folder, "driver") as log:
        return open_run(folder, log, sweep, {}, extended=extended)[0]


def seeds_in(path: Path) -> list[int]:
    return yaml.safe_load(path.read_text())["confirm"]["seeds"]


def told(folder: Path) -> list[str]:
    names = [event["event"] for event in read_events(folder)]
    return [name for name in names if name != "resumed"]


def test_an_extension_keeps_the_old_spec_beside_the_new_and_tells_of_it(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    state = opened(tmp_path, MORE, extended=True).state
    assert seeds_in(tmp_path / "sweep-1.yaml") == [42, 123]
    assert seeds_in(tmp_path / "sweep.yaml") == [42, 123, 7]
    assert told(tmp_path) == ["sweep_started", "extended"]
    assert state.spec == MORE.to_dict() and state.asked == {"confirm": 18}
    (extension,) = state.extensions
    assert (extension.added, extension.before) == ({"confirm.seeds": "7"}, "sweep-1.yaml")

    again = dataclasses.replace(MORE, tasks=(*MORE.tasks, "cartpole-swingup"))
    state = opened(tmp_path, again, extended=True).state
    assert [e.before for e in state.extensions] == ["sweep-1.yaml", "sweep-2.yaml"]
    assert seeds_in(tmp_path / "sweep-2.yaml") == [42, 123, 7]


def test_a_crash_before_the_new_spec_leaves_the_old_sweep(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    keep_spec(tmp_path)
    assert opened(tmp_path, COMPARE).state.extensions == []
    opened(tmp_path, MORE, extended=True)
    assert [path.name for path in tmp_path.glob("sweep-*.yaml")] == ["sweep-1.yaml"]


def test_a_crash_before_the_event_is_made_good_by_whoever_comes_next(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    keep_spec(tmp_path)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(MORE.to_dict(), sort_keys=False))
    assert told(tmp_path) == ["sweep_started"]
    for _ in range(2):  # the second resume tells nothing twice
        state = opened(tmp_path, MORE).state
        assert told(tmp_path) == ["sweep_started", "extended"]
        assert [e.before for e in state.extensions] == ["sweep-1.yaml"]


def test_the_same_command_goes_on_until_the_extension_is_finished(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    words = ["--extend", str(tmp_path), "seeds=[42,123,7]"]
    first = begin(COMPARE, words)
    assert first.growth is not None and first.sweep == MORE
    opened(tmp_path, MORE, extended=True)
    assert begin(COMPARE, words).growth is None
    with EventLog(tmp_path, "driver") as log:
        log.append("sweep_finished", exit_code=0)
    with pytest.raises(UsageError, match="adds nothing"):
        begin(COMPARE, words)


def test_two_that_extend_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    slower = begin(COMPARE, ["--extend", str(tmp_path), "seeds=3"])
    slower.check_again()
    opened(tmp_path, MORE, extended=True)
    with pytest.raises(UsageError, match="extended by another process"):
        slower.check_again()


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--extend .*: no sweep there"):
        begin(COMPARE, ["--extend", str(tmp_path / "nowhere"), "seeds=3"])


def test_an_extension_begins_its_stages_anew_in_the_fold(tmp_path: Path) -> None:
    with EventLog(tmp_path, "driver") as log:
        for stage in ("screen", "select", "confirm"):
            log.append("stage_finished", stage=stage)
            log.append("selected", stage=stage, config_ids=[f"best of {stage}"])
        log.append("sweep_finished", exit_code=0)
        log.append("extended", spec={"a": 1}, stages=["select", "confirm"], added={})
    state = fold(read_events(tmp_path))
    assert state.stages == {"screen": "finished"} and list(state.decisions) == ["screen"]
    assert state.winners == ["best of select"] and not state.finished


@pytest.mark.parametrize("flag", ["--resume", "--extend"])
def test_events_that_cannot_be_read_are_named_before_anything_runs_again(
    flag: str, tmp_path: Path
) -> None:
    opened(tmp_path, COMPARE)
    words = [flag, str(tmp_path), *(["seeds=3"] if flag == "--extend" else [])]
    begin(COMPARE, words)
    (log,) = (tmp_path / "events").iterdir()
    log.rename(tmp_path / "kept")
    log.mkdir()
    with pytest.raises(UsageError, match=rf"^{flag} {tmp_path}: .*Is a directory"):
        begin(COMPARE, words)
    log.rmdir()
    log.parent.rmdir()
    for there in (lambda: None, log.parent.touch):
        there()
        with pytest.raises(UsageError, match=r"events is missing: what ran is not known"):
            begin(COMPARE, words)


def test_a_file_in_the_place_of_the_events_is_an_error_and_not_an_endless_search(
    tmp_path: Path,
) -> None:
    (tmp_path / "events").touch()
    with pytest.raises(FileExistsError):
        EventLog(tmp_path, "driver")


def test_a_resume_may_change_what_trials_hold_and_nothing_else(tmp_path: Path) -> None:
    opened(tmp_path, COMPARE)
    words = ["--resume", str(tmp_path), "trial.memory=3", "trial.cpus=2"]
    begun = begin(COMPARE, words)
    assert begun.growth is None
    assert begun.sweep == dataclasses.replace(COMPARE, memory_per_trial=3.0, cpus_per_trial=2.0)
    opened(tmp_path, begun.sweep)
    assert told(tmp_path) == ["sweep_started"] and list(tmp_path.glob("sweep-*.yaml")) == []
    assert begin(COMPARE, ["--resume", str(tmp_path)]).sweep == begun.sweep
    (resumed,) = [e for e in read_events(tmp_path) if e["event"] == "resumed"]
    assert (resumed["settings"]["memory_per_trial"], resumed["settings"]["cpus_per_trial"]) == (
        3,
        2,
    )
    with pytest.raises(UsageError, match=r"^--resume cannot change confirm.seeds"):
        begin(COMPARE, [*words, "seeds=[42,123,7]"])
