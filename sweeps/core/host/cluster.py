"""Ray: started here on loopback, or joined where it runs. Import before anything imports ray."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sweeps.core.host import auth, machine
from sweeps.core.host.processes import end_processes
from sweeps.core.host.ray_settings import OBJECT_STORE_BYTES, PATIENCE, SETTINGS
from sweeps.core.protocol.plan import Plan, Resources
from sweeps.core.spec.settings import UsageError

CONNECT_S = 5.0


@dataclass(frozen=True)
class Cluster:
    """A connection to Ray. `nodes` are the resources of each node, memory in bytes.

    `metrics` is where Prometheus finds what this process exports; '' where nothing does.
    """

    dashboard: str
    metrics: str
    nodes: tuple[dict[str, float], ...]
    local: bool

    def require(self, resources: Resources) -> None:
        """Raise UsageError if no node can ever run a trial that needs this."""
        if problem := cannot_run(resources, list(self.nodes)):
            raise UsageError(problem)


def shortage(plan: Plan) -> str | None:
    """Why this machine cannot run the largest trial, or None; before Ray is started."""
    memory = machine.usable_memory_bytes() - machine.HEAD_BYTES
    node: dict[str, float] = {"CPU": machine.usable_cpus(), "memory": memory}
    if machine.gpu_memory_bytes():
        node["GPU"] = 1
    return cannot_run(plan.resources, [node])


def cannot_run(resources: Resources, nodes: list[dict[str, float]]) -> str | None:
    """Why none of the nodes has what a trial asks for, or None."""
    wanted = {
        "CPU": resources.num_cpus,
        "GPU": resources.num_gpus,
        "memory": resources.memory_bytes,
    }
    for node in nodes:
        if all(node.get(name, 0) >= amount for name, amount in wanted.items()):
            return None
    most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in wanted}
    return (
        f"no node can run a trial: it needs {wanted['CPU']:g} CPUs, {wanted['GPU']:g} GPUs and "
        f"{wanted['memory'] / 2**30:.1f} GiB; the largest has {most['CPU']:g} CPUs, "
        f"{most['GPU']:g} GPUs and {max(most['memory'], 0) / 2**30:.1f} GiB free. "
        "Choose a smaller preset, num_threads or trial.cpus"
    )


def prepare(address: str | None) -> None:
    """Settings that Ray reads when it is imported.

    Raises UsageError where nothing answers at `address` or its token is missing: Ray itself would
    try for minutes and then speak of a crash.
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
    host = "localhost" if address is None else _reachable(address)
    if host.startswith("127.") or host == "localhost":
        # Despite its name: with 0 Ray leaves loopback addresses as they are and listens there.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _reachable(address: str) -> str:
    """The host of a cluster that answers."""
    found = address
    if address == "auto":
        note = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
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
        alive = [node for node in ray.nodes() if node["Alive"]]
        here = ray.get_runtime_context().get_node_id()
        metrics = next((_metrics(node) for node in alive if node["NodeID"] == here), "")
        nodes = tuple(node["Resources"] for node in alive)
        yield Cluster(_dashboard(info), metrics, nodes, local=address is None)
    finally:
        shut_down()


def shut_down() -> None:
    """Leave Ray; what we started of it is gone when this returns. May be called twice."""
    import ray

    ours = psutil.Process().children(recursive=True) if ray.is_initialized() else []
    ray.shutdown()
    end_processes(ours)


def _metrics(node: dict[str, Any]) -> str:
    port = node.get("MetricsExportPort")
    return f"http://{node['NodeManagerAddress']}:{port}/metrics" if port else ""


def _dashboard(info: Any) -> str:
    url = getattr(info, "dashboard_url", None) or info.address_info.get("webui_url") or ""
    return f"http://{url}" if url else ""
