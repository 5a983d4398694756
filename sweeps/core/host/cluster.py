"""Ray: started here on loopback, or joined where it runs. Import before anything imports ray."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sweeps.core.definition.settings import UsageError
from sweeps.core.host import auth, machine
from sweeps.core.host.nodes import Node, nodes_to_be, unmet
from sweeps.core.host.processes import end_processes
from sweeps.core.host.ray_settings import OBJECT_STORE_BYTES, PATIENCE, SETTINGS
from sweeps.core.protocol.plan import Plan
from sweeps.core.store.folder import StorageError

CONNECT_S = 5.0
#: Ray's logs and sockets; without this much it starts and then waits for files that never come.
LEAST_ROOM_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Cluster:
    """A connection to Ray. `nodes` are those for trials, also such as may still be started.

    `head` is the address of the process that holds the cluster together, as HOST:PORT. `metrics`
    is where Prometheus finds what this process exports; '' where nothing does.
    """

    dashboard: str
    metrics: str
    head: str
    here: str  # the id of the node that this process runs on
    nodes: tuple[Node, ...]
    local: bool

    @property
    def elsewhere(self) -> list[Node]:
        """The live nodes for trials on which this process does not run itself."""
        return [node for node in self.nodes if node.node_id not in ("", self.here)]

    def require(self, plans: Iterable[Plan]) -> None:
        """Raise UsageError with a line for every arm that no node can ever run."""
        if problems := unmet(plans, self.nodes):
            raise UsageError(*problems)


def prepare(address: str | None) -> None:
    """Settings that Ray reads when it is imported.

    Raises UsageError where nothing answers at `address` or its token is missing, and StorageError
    where a Ray of our own would have no room: Ray itself would try for minutes and then speak of a
    crash.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault(auth.MODE_VARIABLE, "token")
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "2" if address is None else "32")
    if address is not None and asks_for_token() and not auth.has_token():
        raise UsageError(
            f"no Ray token found for {address}: set RAY_AUTH_TOKEN_PATH to a file with the "
            "cluster's token, or copy it to ~/.ray/auth_token (mode 600)"
        )
    if address is None:
        _check_room(_ray_folder())
    host = "localhost" if address is None else _reachable(address)
    if host.startswith("127.") or host == "localhost":
        # Despite its name: with 0 Ray leaves loopback addresses as they are and listens there.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _ray_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp")


def _check_room(place: Path) -> None:
    there = next((path for path in (place, *place.parents) if path.is_dir()), Path("/"))
    if not os.access(there, os.W_OK):
        problem = "which cannot be written"
    elif (free := shutil.disk_usage(there).free) < LEAST_ROOM_BYTES:
        problem = f"which has {free / 1e6:.0f} MB free"
    else:
        return
    raise StorageError(
        f"Ray keeps its own files in {place}, {problem}: make room, or set RAY_TMPDIR to another "
        "folder, with a short path"
    )


def _reachable(address: str) -> str:
    """The host of a cluster that answers."""
    found = address
    if address == "auto":
        note = _ray_folder() / "ray" / "ray_current_cluster"
        if not note.is_file():
            raise UsageError(f"--address auto: no Ray cluster runs here ({note} is missing)")
        found = note.read_text().strip()
    host, _, port = found.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UsageError(f"--address must be HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise UsageError(f"--address {address}: no Ray cluster answers ({error})") from error
    return host


def asks_for_token() -> bool:
    """Whether Ray's processes let in only who has the token."""
    return os.environ.get(auth.MODE_VARIABLE, "").lower() == "token"


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """A running Ray for the time of the context; one that we started is gone after it.

    Raises ConnectionError if the cluster cannot be reached.
    """
    if asks_for_token() and (mended := auth.ensure_token()):
        print(f"WARN {mended}", file=sys.stderr)
    import ray

    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    _keep_raylets_quiet()
    for name in ("ray", "ray._private.worker", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if address is None:
        info = ray.init(
            address="local",
            num_cpus=machine.usable_cpus(),
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
            _memory=max(machine.usable_memory_bytes() - machine.HEAD_BYTES, 2**28),
            **common,
        )
    else:
        # The workers' own environment is that of the node they run on.
        patience = {"env_vars": {PATIENCE: SETTINGS[PATIENCE]}}
        info = ray.init(address=address, runtime_env=patience, **common)
    try:
        context = ray.get_runtime_context()
        here = context.get_node_id()
        metrics = next((_metrics(node) for node in ray.nodes() if node["NodeID"] == here), "")
        yield Cluster(
            _dashboard(info),
            metrics,
            context.gcs_address,
            here,
            tuple(node for node in nodes_to_be() if node.for_trials),
            local=address is None,
        )
    finally:
        shut_down()


def _keep_raylets_quiet() -> None:
    """What raylets say of themselves goes to Ray's logger instead of onto the terminal.

    They say it in pages: of a node that dies, the state of all its parts, several times over. With
    `log_to_driver=False` Ray leaves out what workers print, but not this.
    """
    from ray._private import worker

    def tell(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray.raylet").info("%s", "\n".join(data["lines"]))

    worker.print_to_stdstream = tell


def shut_down() -> None:
    """Leave Ray; what we started of it is gone when this returns. May be called twice."""
    import ray

    ours = psutil.Process().children(recursive=True) if ray.is_initialized() else []
    with _garbage_kept():
        ray.shutdown()
    end_processes(ours)  # with time for what uploads a trial's last rows


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """Nothing that refers to itself is freed in the mean time, by no thread.

    Ray ends the process with code 1, without a word, when one of its references is freed in the
    fraction of a second in which its core is gone and it has not noted so yet. What is kept of a
    trial whose node was lost holds such references.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _metrics(node: dict[str, Any]) -> str:
    port = node.get("MetricsExportPort")
    return f"http://{node['NodeManagerAddress']}:{port}/metrics" if port else ""


def _dashboard(info: Any) -> str:
    url = getattr(info, "dashboard_url", None) or info.address_info.get("webui_url") or ""
    return f"http://{url}" if url else ""
