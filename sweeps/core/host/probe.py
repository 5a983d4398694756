"""Before trials start on other nodes: whether all see the results folder, and run what we run.

A task on every node looks and answers. What it cannot tell is left to the workers, who look again:
nodes may join later.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.core.host import machine
from sweeps.core.host.nodes import Node
from sweeps.core.store.durable import write_atomic

#: For a worker to start and answer, and for a network file system to show a new file.
ANSWER_S, SHOWN_S = 180.0, 20.0
#: A reader must never see a part of a file that is replaced: so often it may, at this size.
REPLACED, PROBE_BYTES = 20, 4096
POLL_S = 0.1


@dataclass(frozen=True)
class Seen:
    """What a node told. `storage` says what is wrong with the results folder there, '' if nothing.

    `gpu_bytes` is the memory of its smallest GPU. A node that did not answer has no `versions`.
    """

    node: Node
    storage: str
    versions: Mapping[str, str]
    gpu_bytes: int = 0

    def differences(self, ours: Mapping[str, str]) -> list[str]:
        """What runs there in another version than here."""
        names = [name for name in ours if ours[name] and self.versions.get(name)]
        return [
            f"{name} {self.versions[name]} there, {ours[name]} here"
            for name in names
            if self.versions[name] != ours[name]
        ]


def survey(folder: Path, nodes: Sequence[Node]) -> list[Seen]:
    """Ask every node. Raises OSError where the folder cannot be written from here."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = _Probe(folder)
    try:
        probe.place()
        task = ray.remote(max_retries=0)(look)
        asked = {
            task.options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False),
            ).remote(str(folder), probe.name, node.node_id): node
            for node in nodes
        }
        deadline = time.monotonic() + ANSWER_S
        waiting = list(asked)
        while waiting and time.monotonic() < deadline:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
            probe.watch()
        return [_answer(reference, node, probe) for reference, node in asked.items()]
    finally:
        probe.remove()


def _answer(reference: Any, node: Node, probe: _Probe) -> Seen:
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    try:
        told: Any = ray.get(reference, timeout=0)
    except GetTimeoutError:
        return Seen(node, "", {})
    except RayTaskError as error:
        # It was the import that failed: what a node sees wrong it tells.
        return Seen(node, f"FlowPWM cannot run there: {str(error).strip().splitlines()[-1]}", {})
    except RayError:
        return Seen(node, "", {})  # it is gone: no trial will run there
    wrong = told["storage"] or probe.wrong_answer(node.node_id)
    return Seen(node, wrong, told["versions"], told["gpu_bytes"])


def look(folder: str, name: str, node_id: str) -> dict[str, Any]:
    """What a node sees; runs there."""
    return {
        "storage": _look_at_storage(Path(folder), name, node_id),
        "versions": machine.versions(),
        "gpu_bytes": machine.gpu_memory_bytes(),
    }


def _look_at_storage(folder: Path, name: str, node_id: str) -> str:
    try:
        if not _appears(folder / name, name.encode()):
            return f"{folder} is not the same folder there: it lacks what was just written here"
        for turn in range(REPLACED):
            write_atomic(_answer_path(folder, name, node_id), _page(turn))
    except OSError as error:
        return f"{folder} cannot be written there: {error}"
    return ""


def _answer_path(folder: Path, name: str, node_id: str) -> Path:
    return folder / f"{name}-{node_id}"


def _page(turn: int) -> bytes:
    return bytes([65 + turn]) * PROBE_BYTES


def _appears(path: Path, contents: bytes) -> bool:
    """Whether a file has these contents, at once or soon."""
    deadline = time.monotonic() + SHOWN_S
    while True:
        # A network file system may have a replaced file vanish under its reader.
        with suppress(OSError):
            path.parent.stat()
            if path.read_bytes() == contents:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)


class _Probe:
    """A file with a random name here, and the answers to it, which are replaced again and again."""

    def __init__(self, folder: Path) -> None:
        self.name = f".probe-{secrets.token_hex(8)}"
        self._folder = folder
        self._torn: set[str] = set()

    def place(self) -> None:
        write_atomic(self._folder / self.name, self.name.encode())

    def watch(self) -> None:
        """Look at every answer once."""
        for path in self._folder.glob(f"{self.name}-*"):
            with suppress(OSError):
                page = path.read_bytes()
                if len(page) != PROBE_BYTES or len(set(page)) != 1:
                    self._torn.add(path.name)

    def wrong_answer(self, node_id: str) -> str:
        """What is wrong with the answer of a node that told of nothing wrong."""
        path = _answer_path(self._folder, self.name, node_id)
        if path.name in self._torn:
            return f"{self._folder}: half a file was seen while it was replaced there"
        if not _appears(path, _page(REPLACED - 1)):
            return f"{self._folder} is not the same folder there: what it wrote is not to be seen"
        return ""

    def remove(self) -> None:
        for path in self._folder.glob(f"{self.name}*"):
            with suppress(OSError):
                path.unlink()
