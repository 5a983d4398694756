"""One node of the Ray of a SLURM job: started, watched, and gone without a trace afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from sweeps.core.host import machine
from sweeps.core.host.ports import NoPorts, PortBlock, claim_block
from sweeps.core.host.processes import adopt_orphans, end_processes
from sweeps.core.host.ray_settings import OBJECT_STORE_BYTES, SETTINGS, SYSTEM_CONFIG
from sweeps.core.slurm.job import PID, TOKEN, Head, Job, JobError
from sweeps.core.store.durable import write_atomic

#: Ray puts some 68 bytes behind it, and the name of a Unix socket has 107.
LONGEST_TEMP = 36
LEAST_MEMORY_BYTES = 2**28
#: Ray's own processes on a node that is not the head.
NODE_BYTES = 600 * 2**20
#: Of the worker ports, those for the driver and for workers that read and write objects.
SPARE_WORKERS = 16
POLL_S = 0.5
WATCH_S = 1.0
#: So often in a row nobody must answer before the head counts as gone.
REFUSALS = 3
CONNECT_S = 5.0
STOP_S = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_LOOPBACK = "127.0.0.1"


def run(job: Job, folder: Path, address: str | None = None) -> int:
    """Run the head, or with `address` a node that joins it, until a signal or the end of the head.

    Returns 0 after a stop that was asked for, else the exit code of `ray start`.

    Raises:
        JobError: no free ports, or no address of this node is known.
    """
    stop: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        stop.append(number)

    for number in SIGNALS:
        signal.signal(number, ask)
    os.umask(0o077)
    adopt_orphans()
    if address is None:
        write_atomic(folder / PID, str(os.getpid()).encode())
    try:
        block, claim = claim_block(int(job.job_id))
    except NoPorts as error:
        raise JobError(f"{job.node}: {error}") from error
    temp = temp_folder(job, os.environ)
    log = temp / "ray-start.log"
    # The claim is not inherited, so this process keeps it: it ends after all that it started.
    with claim, log.open("wb") as output:
        ip = node_ip(job)
        ray = subprocess.Popen(
            ray_start(job, block, ip, temp, address),
            env=node_environment(job, folder, block, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            where = address or f"{ip}:{block.port('port')}"
            code = _watch(ray, where, job, folder, block, stop, is_head=address is None)
            if code:
                _show_end(job, log, code)
            return code
        finally:
            _end(ray)
            shutil.rmtree(temp, ignore_errors=True)


def ray_start(job: Job, block: PortBlock, ip: str, temp: Path, address: str | None) -> list[str]:
    """The command for this node; with `address` it joins the head there."""
    head = address is None
    services = [name for name in block.SERVICES if name != "claim" and name.islower()]
    if not head:
        only_head = ("port", "ray-client-server-port", "dashboard-port")
        services = [name for name in services if name not in only_head]
    most = len(block.workers) - SPARE_WORKERS
    cpus = min(machine.usable_cpus(), job.cpus or sys.maxsize, most)
    memory = min(machine.usable_memory_bytes(), job.memory_bytes or sys.maxsize)
    memory -= machine.HEAD_BYTES if head else NODE_BYTES
    settings = f"--system-config={json.dumps(SYSTEM_CONFIG)}"
    as_head = ("--head", f"--dashboard-host={_LOOPBACK}", settings)
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
        *(as_head if head else (f"--address={address}",)),
        f"--node-ip-address={ip}",
        *(f"--{name}={block.port(name)}" for name in services),
        f"--min-worker-port={block.workers.start}",
        f"--max-worker-port={block.workers[-1]}",
        # Ray itself counts the CPUs of the machine, not those of the job.
        f"--num-cpus={cpus}",
        f"--memory={max(memory, LEAST_MEMORY_BYTES)}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={temp}",
        "--disable-usage-stats",
        "--log-style=record",
    ]


def node_environment(
    job: Job, folder: Path, block: PortBlock, outside: Mapping[str, str]
) -> dict[str, str]:
    """The variables of every Ray process of the node, trials included; ours yield to the user's."""
    ours = dict(SETTINGS)
    if job.memory_bytes and job.memory_bytes < 0.9 * psutil.virtual_memory().total:
        # Ray would watch the memory of the whole machine and end our trials for the jobs beside
        # us. SLURM holds us to our own share.
        ours["RAY_memory_monitor_refresh_ms"] = "0"
    forced = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Without them two more listeners of the head have ports that are the same for every job.
        **{name: str(block.port(name)) for name in block.SERVICES if name.isupper()},
    }
    if job.nodes == 1:
        # Despite its name: with 0 Ray leaves loopback addresses as they are and listens there.
        forced["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    kept = {k: v for k, v in outside.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    return ours | kept | forced


def temp_folder(job: Job, environment: Mapping[str, str]) -> Path:
    """A new folder on this machine, ours alone, whose name is short enough for Ray's sockets."""
    name = f"fp{job.job_id}-"
    for variable in ("SLURM_TMPDIR", "TMPDIR"):
        place = environment.get(variable)
        # 8 letters are added.
        if place and len(place) + 1 + len(name) + 8 <= LONGEST_TEMP and os.access(place, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=name, dir=place))
    return Path(tempfile.mkdtemp(prefix=name, dir="/tmp"))


def node_ip(job: Job) -> str:
    """The address under which the other nodes reach this one; loopback if there are none.

    Raises:
        JobError: the name of the node leads nowhere but to itself.
    """
    if job.nodes == 1:
        return _LOOPBACK
    with suppress(OSError):
        for *_, found in socket.getaddrinfo(job.node, None, family=socket.AF_INET):
            # Some systems list their own name under a loopback address.
            if not str(found[0]).startswith("127.") or found[0] == job.node:
                return str(found[0])
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks the routing table
        return probe.getsockname()[0]
    raise JobError(f"node {job.node}: its name has no address that others could reach")


def _watch(
    ray: subprocess.Popen[bytes],
    address: str,
    job: Job,
    folder: Path,
    block: PortBlock,
    stop: list[int],
    *,
    is_head: bool,
) -> int:
    """Wait for the end; the head is announced as soon as it answers."""
    announced = not is_head
    refusals = 0
    watched = time.monotonic()
    host, _, port = address.rpartition(":")
    while not stop:
        if (code := ray.poll()) is not None:
            return code or 1
        if not announced and all(
            _answers(host, p) for p in (int(port), block.port("node-manager-port"))
        ):
            Head(address, block.port("dashboard-port"), job.node).write(folder)
            announced = True
        if not is_head and time.monotonic() - watched >= WATCH_S:
            # Ray itself would notice the end of its head after a minute only.
            refusals = refusals + 1 if _is_gone(host, int(port)) else 0
            watched = time.monotonic()
            if refusals >= REFUSALS:
                return 0
        time.sleep(POLL_S)
    return 0


def _answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), timeout=CONNECT_S):
        return True
    return False


def _is_gone(host: str, port: int) -> bool:
    """Whether nobody listens there any more; being slow or cut off for a while is not that."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _end(ray: subprocess.Popen[bytes]) -> None:
    """End what `ray start` started, and wait for it; all of these are ours."""
    ours = psutil.Process().children(recursive=True)
    if ray.poll() is None:
        ray.terminate()
        with suppress(subprocess.TimeoutExpired):
            ray.wait(STOP_S)
    end_processes(ours)
    # Those whose parents ended meanwhile and that came to us.
    end_processes(psutil.Process().children(recursive=True), patience_s=1.0)


def _show_end(job: Job, log: Path, code: int) -> None:
    print(f"node {job.node}: Ray ended with code {code}", file=sys.stderr)
    for line in log.read_text(errors="replace").splitlines()[-20:]:
        print(f"  {line}", file=sys.stderr)
