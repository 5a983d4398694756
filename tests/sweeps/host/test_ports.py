"""Blocks of ports: whoever has the claim has the block, until its process ends."""

import socket
import subprocess
import sys

import pytest

from sweeps.core.host.ports import BLOCKS, FIRST, SIZE, PortBlock, claim_block, free_ports
from tests.sweeps.tiny import environment


def test_a_block_has_a_port_for_each_service_and_the_rest_for_workers() -> None:
    block = PortBlock(20256)
    services = [block.port(name) for name in block.SERVICES]
    assert [*services, *block.workers] == list(block.ports) == list(range(20256, 20512))


def test_blocks_leave_out_rays_defaults_and_what_linux_gives_to_outgoing_connections() -> None:
    assert FIRST > 19999
    assert FIRST + BLOCKS * SIZE - 1 < 32768


def test_neighbouring_jobs_have_blocks_of_their_own() -> None:
    first, claim = claim_block(4711)
    second, other = claim_block(4712)
    with claim, other:
        assert set(first.ports).isdisjoint(second.ports)


def test_jobs_whose_numbers_fall_on_one_block_get_two() -> None:
    first, claim = claim_block(4711)
    second, other = claim_block(4711 + BLOCKS)
    with claim, other:
        assert set(first.ports).isdisjoint(second.ports)


def test_a_block_in_which_something_listens_is_left_out() -> None:
    free, claim = claim_block(4711)
    claim.close()
    with socket.create_server(("127.0.0.1", free.workers[7])):
        block, claim = claim_block(4711)
        claim.close()
    assert block != free


def test_a_block_is_free_again_when_its_process_is_killed() -> None:
    code = (
        "from sweeps.core.host.ports import claim_block\n"
        "block, claim = claim_block(4711)\n"
        "print(block.first, flush=True)\n"
        "input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    taken = int(process.stdout.readline())
    try:
        block, claim = claim_block(4711)
        claim.close()
        assert block.first != taken
    finally:
        process.kill()
        process.communicate()
    block, claim = claim_block(4711)
    claim.close()
    assert block.first == taken


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_on_is_not_free(host: str) -> None:
    with socket.create_server((host, 0)) as server:
        port = server.getsockname()[1]
        assert free_ports([port]) == 0
    assert free_ports([port]) == 1
