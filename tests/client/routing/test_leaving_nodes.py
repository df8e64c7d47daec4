"""A client that hears that a node is about to stop asks another one, at no cost, until the node is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringmill.client.routing.links import TOPOLOGY, Link
from ringmill.cluster.errors import Unavailable
from tests.client.routing.test_router import KEY, FakeCluster, FakeNode, client_of


class NoticingNode(FakeNode):
    """A node that can tell a client that it is about to stop; it then tells its topology to nobody."""

    leaving: Callable[[], None]
    is_leaving = False

    def on_leaving(self, listener: Callable[[], None]) -> None:
        self.leaving = listener

    def leave(self) -> None:
        self.is_leaving = True
        self.leaving()

    async def call(self, method, request, timeout_s):  # type: ignore[no-untyped-def]
        if self.is_leaving and method is TOPOLOGY:
            raise Unavailable(f"{self.address} is stopping", outcome="failed")
        return await super().call(method, request, timeout_s)


class NoticingCluster(FakeCluster):
    def __init__(self) -> None:
        super().__init__()
        self.noticing = {address: NoticingNode(address, self) for address in self.nodes}
        self.nodes = dict(self.noticing)

    def dial(self, address: str) -> Link:
        return self.noticing[address]


async def test_a_node_that_said_that_it_stops_is_asked_no_more_and_no_attempt_is_lost() -> None:
    cluster = NoticingCluster()
    first, second = (cluster.noticing[node.address] for node in cluster.owners(KEY)[:2])
    async with client_of(cluster) as db:
        await db.put(KEY, b"1")
        first.asked.clear()
        first.leave()
        for _ in range(3):
            await db.put(KEY, b"2")
            assert (await db.get(KEY)).value == b"2"
        assert first.asked == []
        assert second.asked[-2:] == ["Put", "Get"]


async def test_an_answer_that_was_under_way_does_not_bring_clients_back() -> None:
    cluster = NoticingCluster()
    first = cluster.noticing[cluster.owners(KEY)[0].address]
    async with client_of(cluster) as db:
        await db.put(KEY, b"1")
        first.delay_s = 0.02
        under_way = asyncio.create_task(db.get(KEY))
        await asyncio.sleep(0.005)
        first.leave()
        assert (await under_way).value == b"1"
        first.asked.clear()
        await db.get(KEY)
        assert first.asked == []


async def test_a_node_that_is_back_is_asked_again() -> None:
    cluster = NoticingCluster()
    first = cluster.noticing[cluster.owners(KEY)[0].address]
    async with client_of(cluster, timeout_s=2) as db:
        await db.put(KEY, b"1")
        first.leave()
        first.is_leaving = False
        async with asyncio.timeout(3):
            while "Get" not in first.asked:
                await db.get(KEY)
                await asyncio.sleep(0.05)
