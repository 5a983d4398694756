"""Blocks of TCP ports: one for every Ray on a machine that it shares with others.

A block belongs to whoever has bound its first port, as long as that process lives; the kernel
gives it to one only, whichever user asks, and frees it whatever way the process ends.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

#: Above Ray's own defaults (up to 19999), below those that Linux gives to outgoing connections.
FIRST = 20000
SIZE = 256
BLOCKS = 49


class NoPorts(RuntimeError):
    """No block of ports is free on this machine."""


@dataclass(frozen=True)
class PortBlock:
    """`SIZE` ports from `first` on, one for each service of a node and the rest for workers."""

    first: int
    SERVICES: ClassVar[tuple[str, ...]] = (
        "claim",  # bound, never listened on
        "port",
        "node-manager-port",
        "object-manager-port",
        "ray-client-server-port",
        "dashboard-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "runtime-env-agent-port",
        "metrics-export-port",
        "AUTOSCALER_METRIC_PORT",
        "DASHBOARD_METRIC_PORT",
    )

    def port(self, service: str) -> int:
        """The port of a service, named like Ray's option or, in capitals, its variable."""
        return self.first + self.SERVICES.index(service)

    @property
    def workers(self) -> range:
        """Ports for worker processes; one serves the driver, and some serve input and output."""
        return range(self.first + len(self.SERVICES), self.first + SIZE)

    @property
    def ports(self) -> range:
        """All of them."""
        return range(self.first, self.first + SIZE)


def claim_block(key: int) -> tuple[PortBlock, socket.socket]:
    """The first free block from that of `key` on, and its claim: ours as long as that is open.

    Raises:
        NoPorts: every block is taken, or something listens in it.
    """
    for step in range(BLOCKS):
        block = PortBlock(FIRST + (key + step) % BLOCKS * SIZE)
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", block.first))
        except OSError:
            claim.close()
            continue
        if free_ports(block.ports[1:]) == SIZE - 1:
            return block, claim
        claim.close()
    last = FIRST + BLOCKS * SIZE - 1
    raise NoPorts(f"none of {BLOCKS} blocks of {SIZE} ports from {FIRST} to {last} is free")


def free_ports(ports: Iterable[int]) -> int:
    """How many of the ports could be listened on here, on all addresses."""
    free = 0
    for port in ports:
        with socket.socket() as probe:
            # As servers do it: a connection that has just ended holds nothing up.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            free += 1
    return free
