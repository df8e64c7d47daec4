"""A first document that is cut short, or cannot be written: no cluster, an error, another try (T4)."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, InvalidArgument
from ringmill.cluster.ring.topology import Topology
from tests.node.kept_values import KeptValues
from tests.node.membership.test_topology_agent import Network, Node, document


class FailingValues(KeptValues):
    """The disk is full at the first writing; with `is_late` the value is stored all the same."""

    def __init__(self, *, is_late: bool) -> None:
        super().__init__()
        self.is_late = is_late
        self.fails = True

    async def put_synced(self, name: str, value: bytes) -> None:
        if self.fails:
            self.fails = False
            if self.is_late:
                self.durable[name] = value
            raise DiskFull("no space left")
        await super().put_synced(name, value)


async def test_a_document_that_is_cut_short_anywhere_is_refused() -> None:
    node, whole = Node(Network(), 1), document().encode()
    for length in range(0, len(whole), 7):
        with pytest.raises(InvalidArgument):
            await node.agent.take_first(whole[:length])
    assert node.agent.current is None and node.disk.durable == {}
    await node.agent.take_first(whole)
    assert node.agent.current == document()


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_document_that_could_not_be_written_is_not_held_and_can_be_given_again(is_late: bool) -> None:
    node = Node(Network(), 1, FailingValues(is_late=is_late))
    with pytest.raises(DiskFull):
        await node.agent.take_first(document().encode())
    assert node.agent.current is None and not node.agent.serving
    await node.agent.take_first(document().encode())
    assert Topology.decode(node.disk.durable["topology"]) == document()


async def test_a_stored_document_that_is_cut_short_stops_the_start() -> None:
    node = Node(Network(), 1)
    node.disk.durable["topology"] = document().encode()[:-3]
    with pytest.raises(CorruptData, match="stored topology of n1 is damaged"):
        await node.restart().start()


async def test_a_disk_that_is_full_just_as_a_cluster_is_formed_ends_no_node() -> None:
    """The node notes that the document counts once there is room."""

    class FullThen(KeptValues):
        tries = 0

        async def put_synced(self, name: str, value: bytes) -> None:
            if name == "topology-formed":
                self.tries += 1
                if self.tries < 3:
                    raise DiskFull("no space left")
            await super().put_synced(name, value)

    network = Network()
    disk = FullThen()
    nodes = [Node(network, 1, disk), Node(network, 2)]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(node.agent.run()) for node in nodes]
        for node in nodes:
            await node.agent.take_first(document().encode())
        async with asyncio.timeout(10):
            await nodes[0].agent.wait_formed()
        for task in running:
            task.cancel()
    assert nodes[0].agent.serving and disk.durable["topology-formed"]
