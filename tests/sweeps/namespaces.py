"""A Ray cluster whose nodes have network stacks of their own, so that a link can be cut.

Each host is a network namespace, joined to the others by a bridge in a namespace that is not the
machine's: nothing outside is touched, and all of it is gone with the processes that hold it. Files
are shared, as on a cluster with one file system.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from sweeps.core.host import auth
from sweeps.core.host.processes import alive_after
from tests.sweeps.nodes import NODE_BYTES, STORE_BYTES
from tests.sweeps.tiny import environment

PORT = 6379
RAY = Path(sys.executable).with_name("ray")


def can_make_networks() -> bool:
    """Whether this user and this kernel can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    probe = ("unshare", "--net", "ip", "link", "add", "br0", "type", "bridge")
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


class Hosts:
    """A head without CPUs, where the driver runs, and nodes with one CPU each.

    The head tells them `settings` of Ray's.
    """

    def __init__(self, folder: Path, settings: Mapping[str, int]) -> None:
        self.folder = folder
        self.environment = {auth.MODE_VARIABLE: "token"}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._bridge = self._namespace()
        self._in(self._bridge, "ip", "link", "add", "br0", "type", "bridge")
        self._in(self._bridge, "ip", "link", "set", "br0", "up")
        self._hosts: list[int] = []
        self.address = f"{self._plug_in()}:{PORT}"
        told = f"--system-config={json.dumps(settings)}"
        words = ("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false", told)
        self._start_ray(0, *words)

    def add(self) -> str:
        """One node more, which is up when this returns; its address."""
        ip = self._plug_in()
        self._start_ray(len(self._hosts) - 1, f"--address={self.address}", "--num-cpus=1")
        return ip

    @property
    def enter_head(self) -> tuple[str, ...]:
        """What to put before a command that is to run on the head."""
        return self._enter(self._hosts[0])

    @contextlib.contextmanager
    def cut_off(self, ip: str) -> Iterator[None]:
        """The node's link is down in the context. Its processes run on and see the files."""
        link = f"v{int(ip.rpartition('.')[2]) - 1}"
        self._in(self._bridge, "ip", "link", "set", link, "down")
        try:
            yield
        finally:
            self._in(self._bridge, "ip", "link", "set", link, "up")

    def shut_down(self) -> None:
        """End every process of every host."""
        found = [psutil.Process(popen.pid) for popen in self._processes if popen.poll() is None]
        found += [child for parent in found for child in parent.children(recursive=True)]
        found += [p for p in psutil.process_iter() if self._is_ours(p)]
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for popen in self._processes:
            popen.wait(10)
        alive_after(found, 10)

    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether it was left by a node: Ray's processes name its folder."""
        with contextlib.suppress(psutil.Error):
            return any(str(self.folder) in word for word in process.cmdline())
        return False

    def _namespace(self) -> int:
        """The process that holds a network namespace of its own."""
        popen = subprocess.Popen(("unshare", "--net", "sleep", "infinity"))
        self._processes.append(popen)
        deadline = time.monotonic() + 10
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{popen.pid}/ns/net") == ours:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self._in(popen.pid, "ip", "link", "set", "lo", "up")
        return popen.pid

    def _plug_in(self) -> str:
        """A new host at the bridge; its address."""
        host, number = self._namespace(), len(self._hosts)
        ip, link = f"10.77.0.{number + 1}", f"v{number}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(host))
        self._in(self._bridge, "ip", "link", "add", link, *peer)
        self._in(self._bridge, "ip", "link", "set", link, "master", "br0", "up")
        self._in(host, "ip", "addr", "add", f"{ip}/24", "dev", "eth0")
        self._in(host, "ip", "link", "set", "eth0", "up")
        self._hosts.append(host)
        return ip

    def _start_ray(self, number: int, *words: str) -> None:
        temp = self.folder / str(number)
        sizes = (f"--object-store-memory={STORE_BYTES}", f"--memory={NODE_BYTES}")
        here = (f"--node-ip-address=10.77.0.{number + 1}", f"--temp-dir={temp}")
        command = (str(RAY), "start", *words, *here, *sizes, "--num-gpus=0", "--block")
        output = self.folder / f"{number}.log"
        with output.open("wb") as log:
            popen = subprocess.Popen(
                (*self._enter(self._hosts[number]), *command),
                env=environment(RAY_USAGE_STATS_ENABLED="0", **self.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(popen)
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in output.read_text():
            assert popen.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)

    def _in(self, holder: int, *words: str) -> None:
        subprocess.run((*self._enter(holder), *words), check=True, timeout=30)

    @staticmethod
    def _enter(holder: int) -> tuple[str, ...]:
        return ("nsenter", "--target", str(holder), "--net")


@contextlib.contextmanager
def running_hosts(settings: Mapping[str, int]) -> Iterator[Hosts]:
    """A head, until the end of the context; nothing of it is left then."""
    folder = Path(tempfile.mkdtemp(prefix="fp"))  # short, for the names of sockets
    auth.ensure_token()
    hosts = Hosts(folder, settings)
    try:
        yield hosts
    finally:
        hosts.shut_down()
        shutil.rmtree(folder, ignore_errors=True)
