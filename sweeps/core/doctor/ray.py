"""Doctor: Ray's token, its ports, and whether one runs already. Ray itself is not imported."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from sweeps.core.doctor.findings import Finding, fail, guarded, ok, warn
from sweeps.core.host import auth
from sweeps.core.host.ports import free_ports

DASHBOARD_PORT = 8265
WORKER_PORTS = range(10002, 20000)
#: A port a worker and a few for each node; far more than a sweep on one machine takes.
LEAST_WORKER_PORTS = 1000
MAKE_TOKEN = "(umask 077; ray get-auth-token --generate)"


@guarded
def check_token(fix: bool = False) -> Iterator[Finding]:
    """That Ray asks for a token, and that only its owner can read it; `fix` sets the mode."""
    mode = os.environ.get(auth.MODE_VARIABLE, "token")
    if mode.lower() != "token":
        message = f"{auth.MODE_VARIABLE}={mode}: who reaches Ray's ports runs commands as you"
        yield fail("token", message, f"unset {auth.MODE_VARIABLE}")
        return
    if os.environ.get(auth.TOKEN_VARIABLE):
        message = f"${auth.TOKEN_VARIABLE} is set: every program that you start can read it"
        yield warn("token", message, f"put it in a file of mode 0600 and set {auth.PATH_VARIABLE}")
        return
    path = auth.token_file()
    if not path.is_file():
        todo = f"the first local sweep makes it; for a cluster: {MAKE_TOKEN}"
        yield warn("token", f"{path} is not there yet", todo)
        return
    found = path.stat()
    if found.st_uid != os.geteuid():
        message = f"{path} belongs to user {found.st_uid}, not to you"
        yield fail("token", message, f"set {auth.PATH_VARIABLE} to a file of yours")
    elif not found.st_size:
        yield fail("token", f"{path} is empty", f"delete it, then {MAKE_TOKEN}")
    elif found.st_mode & auth.OTHERS and not fix:
        message = f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others can read it"
        yield fail("token", message, f"chmod 600 {path}, or --fix")
    else:
        changed = auth.ensure_token()
        yield ok("token", changed or f"{path}, mode {stat.S_IMODE(found.st_mode):04o}")


@guarded
def check_ports() -> Iterator[Finding]:
    """The port of the dashboard, and how many of the workers' range are free."""
    if free_ports([DASHBOARD_PORT]):
        yield ok("ports", f"{DASHBOARD_PORT} is free for the dashboard")
    else:
        message = f"{DASHBOARD_PORT} is taken: the dashboard goes to the next free port"
        yield warn("ports", message, "use the address that the sweep prints")
    free = free_ports(WORKER_PORTS)
    text = f"{free} of {len(WORKER_PORTS)} ports from {WORKER_PORTS.start} are free"
    if free < LEAST_WORKER_PORTS:
        yield warn("ports", text, "end what holds them: ss -ltnp")
    else:
        yield ok("ports", text)


@guarded
def check_running() -> Iterator[Finding]:
    """Whether a Ray of this user runs; a local sweep neither needs nor touches it."""
    import psutil

    found = [
        process.info["pid"]
        for process in psutil.process_iter(["pid", "name", "uids"])
        if process.info["name"] == "gcs_server"
        and process.info["uids"] is not None
        and process.info["uids"].real == os.getuid()
    ]
    if found:
        pids = ", ".join(map(str, sorted(found)))
        text = f"runs already (gcs_server {pids}); a local sweep ignores it and starts its own"
        yield ok("ray", f"{text}; --address HOST:PORT joins it")
    else:
        yield ok("ray", "none runs; a local sweep starts its own")
