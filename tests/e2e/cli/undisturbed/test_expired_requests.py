"""An owner is stopped with a put in its socket, and goes on after nobody waits for that put any more."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import ringmill
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local.local_state import LocalCluster, load_cluster
from ringmill.client.routing.candidates import coordinators
from ringmill.client.routing.links import GET, PUT
from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.wire.stubs import kv_pb2

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

ROUNDS = 3


def cluster_of(shell: Shell) -> LocalCluster:
    [home] = (shell.folder / "home").glob("*/cluster.json")
    found = load_cluster(str(home.parent))
    assert found is not None
    return found


@pytest.mark.parametrize("session", [True, False], ids=["session", "unary"])
async def test_a_put_that_expired_in_the_socket_of_a_stopped_owner_is_never_applied(
    shell: Shell, session: bool
) -> None:
    nodes = {node.address: node.pid for node in cluster_of(shell).nodes}
    for number in range(ROUNDS):
        key = f"expired-{session}-{number}".encode()
        async with ringmill.connect(list(nodes), timeout=20) as others:
            partition = others.topology.partition_of(others.topology.keyspace_named("default").id, key)
            owner = coordinators(others.topology, partition)[0]
            link = open_link(owner, session=session)
            everything = kv_pb2.GetRequest(key=key, r="all")
            await link.call(GET, everything, 20)
            os.kill(nodes[owner], signal.SIGSTOP)
            try:
                with pytest.raises(DeadlineExceeded):
                    await link.call(PUT, kv_pb2.PutRequest(key=key, value=b"EXPIRED"), 0.3)
                receipt = await others.put(key, b"NEW")
                assert len([ack for ack in receipt.replicas if ack.role == "owner"]) == 2
            finally:
                os.kill(nodes[owner], signal.SIGCONT)
            seen = await link.call(GET, everything, 60)
            assert [sibling.value for sibling in seen.siblings] == [b"NEW"]
            await link.close()
