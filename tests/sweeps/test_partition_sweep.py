"""A node that is cut off from the others for a while, under a real sweep, and comes back."""

import contextlib
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest

from sweeps.core.host.ray_settings import SYSTEM_CONFIG
from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.series import read_series
from tests.sweeps.namespaces import can_make_networks, running_hosts
from tests.sweeps.test_nodes_sweep import Sweep, whole, words
from tests.sweeps.tiny import science, state_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.fault,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not can_make_networks(), reason="only root can make networks"),
]

#: Some 15 s of training on an idle machine.
EPOCHS = 240


#: Seconds of the cut, what the head tells its cluster, and how many trials go on elsewhere. With
#: Ray's own settings a short cut breaks connections, which is noticed after five minutes.
CASES = ((25.0, SYSTEM_CONFIG, 0), (25.0, {}, 1), (90.0, SYSTEM_CONFIG, 1))


@pytest.mark.parametrize(("seconds", "settings", "moved"), CASES, ids=["short", "Ray's", "long"])
def test_a_node_cut_off_for_a_while_costs_no_row_and_adds_none(
    tmp_path: Path, seconds: float, settings: dict[str, int], moved: int
) -> None:
    with running_hosts(settings) as hosts, contextlib.ExitStack() as stack:
        doomed, _ = hosts.add(), hosts.add()
        sweep = Sweep(tmp_path, hosts, *words(EPOCHS), before=hosts.enter_head)
        stack.callback(sweep.kill)
        sweep.wait_for(lambda: len(sweep.running()) == 2, 300)
        folder = sweep.folder
        with hosts.cut_off(doomed):
            began = time.monotonic()
            hosts.add()  # where the trial can go on
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        assert sweep.end(500) == ExitCode.OK, sweep.text

    whole(folder, EPOCHS)
    trials = state_of(folder).trials.values()
    assert [t.failures for t in trials] == [[]] * 2
    lost = [t.trial_id for t in trials if t.attempt > 1]
    paused = [e for e in read_events(folder) if e["event"] == "interrupted"]
    assert [(e["trial_id"], e["cause"]) for e in paused] == [(name, "node") for name in lost]
    print(f"cut off for {seconds:g} s: {len(lost)} trials went on elsewhere", sweep.text)
    assert len(lost) == moved
    if not moved:
        return
    raw = read_series(folder, "reports", trials=lost)
    begun = min(r["epoch"] for r in raw.to_pylist() if r["attempt"] == 2)
    kept = read_tables(folder, trials=lost).reports
    assert {r["attempt"] for r in kept.to_pylist() if r["epoch"] >= begun} == {2}
    # What both attempts trained is the same to the bit.
    rows = [science(raw.filter(pc.field("attempt") == attempt)) for attempt in (1, 2)]
    first, second = ({r["epoch"]: r for r in part} for part in rows)
    print(f"{len(first.keys() & second.keys())} rows of the first attempt do not count")
    assert all(first[epoch] == row for epoch, row in second.items() if epoch in first)
