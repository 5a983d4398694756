"""What follows from what the nodes of a cluster told: go on, warn, or refuse."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from sweeps.core.definition.settings import UsageError
from sweeps.core.host.nodes import Node
from sweeps.core.host.probe import Seen
from sweeps.core.protocol.requests import Sizing
from sweeps.core.store.folder import StorageError


def refuse(seen: Sequence[Seen], ours: Mapping[str, str], *, anyway: bool) -> list[str]:
    """What to warn of.

    Raises:
        StorageError: a node does not share the results folder.
        UsageError: a node runs other versions than we do, unless they are meant (`anyway`).
    """
    if apart := [f"node {one.node.name}: {one.storage}" for one in seen if one.storage]:
        raise StorageError("; ".join(apart))
    different = [
        f"node {one.node.name}: {', '.join(found)}"
        for one in seen
        if (found := one.differences(ours))
    ]
    if different and not anyway:
        raise UsageError(
            *different, "results of different versions do not compare; --yes if they are meant"
        )
    silent = [f"node {one.node.name} did not answer" for one in seen if not one.versions]
    return [*different, *silent]


def with_gpus(sizing: Sizing, seen: Sequence[Seen], accelerator: str) -> Sizing:
    """The sizing by the smallest GPU that a trial may get; as it was where there is none."""
    sizes = [
        one.gpu_bytes
        for one in seen
        if one.gpu_bytes and (not accelerator or accelerator in one.node.accelerators)
    ]
    return dataclasses.replace(sizing, gpu_bytes=min(sizes)) if sizes else sizing


def text(nodes: Sequence[Node]) -> str:
    """The nodes for trials in a line, alike ones together."""
    live = Counter(str(node) for node in nodes if node.node_id)
    more = Counter(f"{node.name} with {node}" for node in nodes if not node.node_id)
    now = ", ".join(f"{count} x ({what})" for what, count in live.items()) or "none yet"
    return "; may start: ".join(filter(None, (now, ", ".join(more))))
