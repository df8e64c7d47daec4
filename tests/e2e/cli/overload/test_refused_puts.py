"""More requests than a node can take come at once: what it refuses it has not done, and for whom it refuses
nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import ringmill
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local.local_state import LocalNode, load_cluster
from ringmill.client.routing.candidates import coordinators
from ringmill.client.routing.links import GET, PUT, Method, SendingLink
from ringmill.cluster.errors import Overloaded, RingmillError
from ringmill.cluster.wire.stubs.kv_pb2 import GetRequest, PutRequest

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

PUTS = 4000
BESIDE_A_STOPPED_NODE = 400


async def test_refused_puts_are_not_there_and_answered_ones_are(shell: Shell) -> None:
    addresses = [node.address for node in nodes_of(shell)]
    async with ringmill.connect(addresses, timeout=60) as db:
        await db.get("anything", None)
        topology = db.topology
        keyspace = topology.keyspace_named("default").id

        def owner_of(key: bytes) -> str:
            return coordinators(topology, topology.partition_of(keyspace, key))[0]

        named = (b"crowd-%d" % number for number in count())
        keys = list(islice((key for key in named if owner_of(key) == owner_of(b"crowd-0")), PUTS))
        told = await all_at_once(
            owner_of(keys[0]), PUT, {key: PutRequest(key=key, value=b"v") for key in keys}
        )
        refused = [key for key in keys if isinstance(told[key], Overloaded)]
        answered = [key for key in keys if isinstance(told[key], bytes)]
        assert refused and answered and len(refused) + len(answered) == PUTS
        assert all(isinstance(one, Overloaded) and one.outcome == "failed" for one in map(told.get, refused))
        found = await db.mget(keys, r="all")
        there = {key for key, one in zip(keys, found, strict=True) if isinstance(one, ringmill.Item)}
        assert there == set(answered)


async def test_nothing_is_refused_for_waiting_for_a_node_that_is_stopped(shell: Shell) -> None:
    first, *_, stopped = nodes_of(shell)
    keys = [b"beside-%d" % number for number in range(BESIDE_A_STOPPED_NODE)]
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        puts = await all_at_once(first.address, PUT, {key: PutRequest(key=key, value=b"v") for key in keys})
        gets = await all_at_once(first.address, GET, {key: GetRequest(key=key) for key in keys})
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    assert {type(one) for one in (*puts.values(), *gets.values())} == {bytes}, "two of three owners are there"


def nodes_of(shell: Shell) -> Sequence[LocalNode]:
    [home] = (shell.folder / "home").glob("*/cluster.json")
    cluster = load_cluster(str(home.parent))
    assert cluster is not None
    return cluster.nodes


async def all_at_once(
    address: str, method: Method[Any], requests: Mapping[bytes, PutRequest | GetRequest]
) -> dict[bytes, bytes | RingmillError]:
    """What a node tells of requests that leave as few frames, whatever it can take."""
    link = open_link(address, session=True)
    assert isinstance(link, SendingLink)
    told: dict[bytes, bytes | RingmillError] = {}
    all_told = asyncio.Event()

    def note(key: bytes, outcome: bytes | RingmillError) -> None:
        told[key] = outcome
        if len(told) == len(requests):
            all_told.set()

    for key, request in requests.items():
        link.send(method, request, 60, partial(note, key))
    async with asyncio.timeout(90):
        await all_told.wait()
    await link.close()
    return told
