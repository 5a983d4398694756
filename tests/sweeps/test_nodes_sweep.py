"""Sweeps on several nodes: the real script on a real Ray cluster, of which parts are killed."""

import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeps.core.store.compact import read_tables
from sweeps.core.store.events import read_events
from sweeps.core.store.schema import ExitCode
from sweeps.core.store.series import read_series
from tests.sweeps.namespaces import Hosts
from tests.sweeps.nodes import Nodes, nodes, running_nodes  # noqa: F401
from tests.sweeps.tiny import ROOT, RUN, Process, latest, state_of

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(1800)]

SCRIPT = "single_task"
EPOCHS = 160


def words(epochs: int = EPOCHS) -> list[str]:
    """Two trials of some 10 s on an idle machine, which report at every second epoch."""
    return [
        *RUN,
        "preset=laptop",
        "task=point-mass",
        "arms=[mlp,flow]",
        "seeds=[1000]",
        "episodes=3",
        f"epochs={epochs}",
    ]


class Sweep(Process):
    """A sweep on these nodes; `before` is put in front of its command."""

    def __init__(
        self, cwd: Path, cluster: Nodes | Hosts, *more: str, before: Sequence[str] = ()
    ) -> None:
        words = ("--address", cluster.address, *more)
        super().__init__(cwd, *words, script=SCRIPT, before=before, **cluster.environment)

    @property
    def folder(self) -> Path:
        return latest(self.cwd, SCRIPT)

    def running(self) -> dict[str, Any]:
        """The trials at work, by the node they are on."""
        if not (self.cwd / "results").exists():
            return {}
        trials = state_of(self.folder).trials.values()
        return {t.node_id: t for t in trials if t.status == "RUNNING" and t.epochs_done}


@pytest.fixture
def started() -> Iterator[list[Sweep]]:
    sweeps: list[Sweep] = []
    yield sweeps
    for sweep in sweeps:
        sweep.kill()


def whole(folder: Path, epochs: int = EPOCHS) -> None:
    """Every row of every trial is there, once."""
    tables = read_tables(folder)
    trials = tables.trials.to_pylist()
    assert [(t["status"], t["epochs_done"]) for t in trials] == [("COMPLETED", epochs)] * 2
    for kind, every in (("reports", 2), ("evals", 10)):
        rows = [(r["trial_id"], r["epoch"]) for r in getattr(tables, kind).to_pylist()]
        expected = [(t["trial_id"], e) for t in trials for e in range(every, epochs + 1, every)]
        assert sorted(rows) == sorted(expected)


def test_a_lost_node_costs_no_row_and_a_late_one_is_used(
    tmp_path: Path,
    nodes: Nodes,  # noqa: F811
    started: list[Sweep],
) -> None:
    doomed, other = nodes.add(), nodes.add()
    sweep = Sweep(tmp_path, nodes, *words())
    started.append(sweep)
    sweep.wait_for(lambda: len(sweep.running()) == 2)
    hit = sweep.running()[doomed.node_id]
    # Before it saw the nodes it could not know, and said so.
    assert "with one trial at a time" in sweep.text and "2 trials at a time" in sweep.text

    # Else, on a busy machine, the other's trial may end first and leave its place.
    with nodes.at_rest(other):
        nodes.kill_raylet(doomed)
        killed = time.monotonic()
        late = nodes.add()
        sweep.wait_for(lambda: state_of(sweep.folder).trials[hit.trial_id].attempt >= 2)
    print(f"running again after {time.monotonic() - killed:.1f} s")
    assert sweep.end(400) == ExitCode.OK, sweep.text

    whole(sweep.folder)
    trials = state_of(sweep.folder).trials
    assert {t.node_id for t in trials.values()} <= {other.node_id, late.node_id}
    assert late.node_id in {t.node_id for t in trials.values()}
    assert [t.failures for t in trials.values()] == [[]] * 2
    paused = [e for e in read_events(sweep.folder) if e["event"] == "interrupted"]
    # Twice, where Ray placed it once more on the node of whose end it had not heard yet.
    assert {(e["trial_id"], e["cause"]) for e in paused} == {(hit.trial_id, "node")}
    assert "was lost; goes on from its last checkpoint" in paused[0]["message"]
    raw = read_series(sweep.folder, "reports")
    first = min(
        row["epoch"]
        for row in raw.to_pylist()
        if row["trial_id"] == hit.trial_id and row["attempt"] >= 2
    )
    assert first > 2  # it did not begin again


@pytest.mark.long
def test_without_its_head_a_sweep_ends_resumable_and_a_new_cluster_ends_it(
    tmp_path: Path,
    nodes: Nodes,  # noqa: F811
    started: list[Sweep],
) -> None:
    nodes.add()
    nodes.add()
    sweep = Sweep(tmp_path, nodes, *words())
    started.append(sweep)
    sweep.wait_for(lambda: len(sweep.running()) == 2)
    nodes.kill_head()
    killed = time.monotonic()
    assert sweep.end(120) == ExitCode.INTERRUPTED, sweep.text
    print(f"ended after {time.monotonic() - killed:.1f} s")
    assert "interrupted by the loss of Ray's head" in sweep.text
    assert f"--resume results/{SCRIPT}/{sweep.folder.name} --address" in sweep.text
    saved = {t.trial_id: t.epochs_done for t in state_of(sweep.folder).trials.values()}

    again = Nodes(nodes.folder)
    try:
        again.add()
        again.add()
        resumed = Sweep(tmp_path, again, "--resume", str(sweep.folder))
        started.append(resumed)
        assert resumed.end(500) == ExitCode.OK, resumed.text
    finally:
        again.shut_down()
    whole(sweep.folder)
    begun = [e for e in read_events(sweep.folder) if e["event"] == "started"]
    second = {e["trial_id"]: e["epoch"] for e in begun if e["attempt"] == 2}
    # Told to save by the stop file, they lost nothing of what they had told.
    assert all(second[trial] >= epochs for trial, epochs in saved.items())


@pytest.mark.long
def test_a_head_with_its_state_on_disk_comes_back_and_no_trial_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Sweep]
) -> None:
    monkeypatch.setenv("RAY_gcs_storage", "rocksdb")
    monkeypatch.setenv("RAY_gcs_storage_path", str(tmp_path / "gcs"))
    with running_nodes(monkeypatch, free_port()) as nodes:  # noqa: F811
        nodes.add()
        nodes.add()
        sweep = Sweep(tmp_path, nodes, *words())
        started.append(sweep)
        sweep.wait_for(lambda: len(sweep.running()) == 2)
        nodes.kill_head()
        time.sleep(4)
        nodes.start_head_again()
        assert sweep.end(500) == ExitCode.OK, sweep.text
    whole(sweep.folder)
    assert {t.attempt for t in state_of(sweep.folder).trials.values()} == {1}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process other mounts")
@pytest.mark.long
def test_a_node_with_another_folder_or_other_versions_is_named_before_anything_runs(
    tmp_path: Path,
    nodes: Nodes,  # noqa: F811
    started: list[Sweep],
) -> None:
    other = tmp_path / "other" / "torch-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    (tmp_path / "results").mkdir()
    with nodes.started(PYTHONPATH=os.pathsep.join([str(other.parent), str(ROOT)])):
        sweep = Sweep(tmp_path, nodes, *words())
        started.append(sweep)
        assert sweep.end(240) == ExitCode.USAGE, sweep.text
        assert re.search(r"error: node \S+ \(127\.0\.0\.1, \w+\): torch 9\.9 there, ", sweep.text)
        assert "--yes if they are meant" in sweep.text

    hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
    with nodes.started(*hide, str(tmp_path / "results")):
        sweep = Sweep(tmp_path, nodes, *words())
        started.append(sweep)
        assert sweep.end(240) == ExitCode.STORAGE, sweep.text
    told = re.search(r"error: node \S+ \(127\.0\.0\.1, \w+\): (.*)", sweep.text)
    assert told is not None, sweep.text
    assert f"{sweep.folder} is not the same folder there" in told[1]
    assert "start confirm" not in sweep.text
    assert list(sweep.folder.glob(".probe-*")) == []
