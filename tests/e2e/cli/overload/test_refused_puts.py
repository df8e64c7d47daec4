"""More puts than a node can take come at once: what it refuses it has not done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest

import ringmill
from ringmill.client.connection import open_link
from ringmill.client.local.local_state import load_cluster
from ringmill.client.routing.candidates import coordinators
from ringmill.client.routing.links import PUT, SendingLink
from ringmill.cluster.errors import Overloaded, RingmillError
from ringmill.cluster.wire.stubs import kv_pb2

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

PUTS = 4000


@pytest.fixture(scope="module", autouse=True)
def gate() -> Iterator[None]:
    """The nodes of `shell` start with it on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_GATE", "on")
        yield


async def test_refused_puts_are_not_there_and_answered_ones_are(shell: Shell) -> None:
    [home] = (shell.folder / "home").glob("*/cluster.json")
    cluster = load_cluster(str(home.parent))
    assert cluster is not None
    addresses = [node.address for node in cluster.nodes]
    async with ringmill.connect(addresses, timeout=60) as db:
        await db.get("anything", None)
        topology = db.topology
        keyspace = topology.keyspace_named("default").id

        def owner_of(key: bytes) -> str:
            return coordinators(topology, topology.partition_of(keyspace, key))[0]

        named = (b"crowd-%d" % number for number in count())
        keys = list(islice((key for key in named if owner_of(key) == owner_of(b"crowd-0")), PUTS))
        told = await all_at_once(owner_of(keys[0]), keys)
        refused = [key for key in keys if isinstance(told[key], Overloaded)]
        answered = [key for key in keys if isinstance(told[key], bytes)]
        assert refused and answered and len(refused) + len(answered) == PUTS
        assert all(isinstance(one, Overloaded) and one.outcome == "failed" for one in map(told.get, refused))
        found = await db.mget(keys, r="all")
        there = {key for key, one in zip(keys, found, strict=True) if isinstance(one, ringmill.Item)}
        assert there == set(answered)


async def all_at_once(address: str, keys: list[bytes]) -> dict[bytes, bytes | RingmillError]:
    """What a node tells of puts that leave as few frames, whatever it can take."""
    link = open_link(address, session=True)
    assert isinstance(link, SendingLink)
    told: dict[bytes, bytes | RingmillError] = {}
    all_told = asyncio.Event()

    def note(key: bytes, outcome: bytes | RingmillError) -> None:
        told[key] = outcome
        if len(told) == len(keys):
            all_told.set()

    for key in keys:
        link.send(PUT, kv_pb2.PutRequest(key=key, value=b"v"), 60, partial(note, key))
    async with asyncio.timeout(90):
        await all_told.wait()
    await link.close()
    return told
