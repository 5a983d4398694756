"""Heartbeats that are passed over: the state stays what all of them lead to."""

from pathlib import Path

import pytest

from sweeps.core.store.events import EventLog, fold, read_events, scan_events
from sweeps.core.store.thinning import spread


def write(folder: Path) -> None:
    """Two trials that beat in turn; the second one is started again in between."""
    with EventLog(folder, "driver") as log:
        for trial in ("a", "b"):
            log.append("planned", trial, config={"epochs": 100}, arm='quo"ted')
            log.append("started", trial, attempt=1)
        for epoch in range(1, 41):
            for trial in ("a", "b"):
                attempt = 2 if trial == "b" and epoch > 20 else 1
                if (trial, epoch) == ("b", 21):
                    log.append("started", "b", attempt=2)
                seconds = 1.5 * epoch
                log.append("progress", trial, attempt=attempt, epoch=epoch, wall_time_s=seconds)
        log.append("completed", "a", attempt=1, epoch=41)


@pytest.mark.parametrize("most", [1, 3, 20, 1000])
def test_few_heartbeats_lead_to_the_same_state_as_all(most: int, tmp_path: Path) -> None:
    write(tmp_path)
    everything = read_events(tmp_path)
    few = read_events(tmp_path, heartbeats=most)
    assert fold(few) == fold(everything)
    assert [event["seq"] for event in few] == sorted(event["seq"] for event in few)
    beats = [e for e in few if (e["event"], e["trial_id"]) == ("progress", "b")]
    # 20 of each attempt of b; of each the last stays.
    assert len(beats) == 2 * min(most, 20)
    assert {20, 40} <= {event["epoch"] for event in beats}
    others = [event for event in everything if event["event"] != "progress"]
    assert [event for event in few if event["event"] != "progress"] == others


def test_those_that_stay_are_evenly_spaced_and_end_with_the_last() -> None:
    assert spread(range(10), 5) == [1, 3, 5, 7, 9]
    assert spread(range(7), 3) == [1, 4, 6]
    assert spread(range(3), 5) == [0, 1, 2]
    assert spread(range(5), 1) == [4]


def test_a_damaged_line_is_told_of_where_it_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    (path,) = (tmp_path / "events").iterdir()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"event":"completed"', b'"event":"comp1eted"'))
    assert scan_events(tmp_path, heartbeats=1).corrupt == {path: 1}
    path.write_bytes(b"no event at all\n" + data)
    assert scan_events(tmp_path, heartbeats=1).corrupt == {path: 1}
