"""A Ray cluster of several nodes on this machine, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.core.host import auth
from sweeps.core.host.processes import alive_after
from tests.sweeps.tiny import ROOT

#: Nothing of size goes through the object store, and Ray asks for at least 75 MiB.
STORE_BYTES = 80 * 2**20
NODE_BYTES = 2 * 2**30


class Nodes:
    """A head without CPUs and nodes with one CPU each. Driven from the main thread only."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.environment = {"RAY_TMPDIR": str(folder), auth.MODE_VARIABLE: "token"}
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": STORE_BYTES,
                "memory": NODE_BYTES,
                "include_dashboard": False,
                "gcs_server_port": port,  # 0: any that is free
            },
        )
        assert self.cluster.address is not None
        self.address: str = self.cluster.address

    def add(self, **options: Any) -> Any:
        """One node more, which is up when this returns."""
        given = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "memory": NODE_BYTES}
        return self.cluster.add_node(**(given | options))

    @contextlib.contextmanager
    def started(self, *before: str, **variables: str) -> Iterator[None]:
        """A node of other circumstances, in a process of its own behind the words `before`."""
        command = (sys.executable, "-m", "tests.sweeps.nodes", self.address)
        live = len(self.cluster.global_state._live_node_ids())
        log = self.folder / "node.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*before, *command],
                cwd=ROOT,
                env=os.environ | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        ours = [psutil.Process(popen.pid)]
        try:
            deadline = time.monotonic() + 120
            while len(self.cluster.global_state._live_node_ids()) == live:
                assert popen.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
            ours += ours[0].children(recursive=True)
            yield
        finally:
            for process in ours:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            popen.wait(10)
            alive_after(ours, 10)

    def kill_raylet(self, node: Any) -> None:
        """SIGKILL, as when a machine goes down; what else it ran is left to itself."""
        (raylet,) = node.all_processes["raylet"]
        raylet.process.kill()
        raylet.process.wait(10)

    @contextlib.contextmanager
    def at_rest(self, node: Any) -> Iterator[None]:
        """The workers of `node` stand still, so that they end nothing in the mean time."""
        (raylet,) = node.all_processes["raylet"]
        workers = [
            process
            for process in psutil.Process(raylet.process.pid).children()
            if "".join(process.cmdline()).startswith("ray::")
        ]
        assert workers
        for worker in workers:
            worker.suspend()
        try:
            yield
        finally:
            for worker in workers:
                worker.resume()

    def kill_head(self) -> None:
        """SIGKILL for the process that holds the cluster together."""
        assert self.cluster.head_node is not None
        self.cluster.head_node.kill_gcs_server()

    def start_head_again(self) -> None:
        """At the address that it had."""
        assert self.cluster.head_node is not None
        self.cluster.head_node.start_gcs_server()

    def shut_down(self) -> None:
        from ray.experimental.internal_kv import _internal_kv_reset

        # A process that has started a head asks it for ever, as when a scheduler of Tune's is
        # made, and is ended by Ray after a minute without an answer.
        _internal_kv_reset()
        for node in self.cluster.list_all_nodes():
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    with running_nodes(monkeypatch) as found:
        yield found


@contextlib.contextmanager
def running_nodes(monkeypatch: pytest.MonkeyPatch, port: int = 0) -> Iterator[Nodes]:
    """A head, until the end of the context; nothing of it is left then."""
    folder = Path(tempfile.mkdtemp(prefix="fp"))  # short, for the names of sockets
    # Ray reads a token once a process: that of this user serves every cluster of it.
    auth.ensure_token()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setenv(auth.MODE_VARIABLE, "token")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    nodes = Nodes(folder, port)
    try:
        yield nodes
    finally:
        nodes.shut_down()
        left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        alive_after(left, 5)
        shutil.rmtree(folder, ignore_errors=True)


def stay(address: str) -> None:
    """Be a node of the cluster at `address` until killed, as `Cluster.add_node` makes them.

    `ray start` would not do: it refuses clusters on 127.0.0.1.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    given = RayParams(
        gcs_address=address,
        num_cpus=1,
        num_gpus=0,
        memory=NODE_BYTES,
        object_store_memory=STORE_BYTES,
        min_worker_port=0,
        max_worker_port=0,
        node_manager_port=0,
        dashboard_agent_listen_port=None,
        include_log_monitor=False,
    )
    Node(given, head=False, shutdown_at_exit=False, spawn_reaper=False)
    signal.pause()


if __name__ == "__main__":
    stay(sys.argv[1])
