"""The topology agent over a small network of its own: the first document, storing, pulling, refusals."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    InvalidArgument,
    ProtocolMismatch,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Handler, Incoming, Priority
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.membership.topology_agent import PULL, TopologyAgent
from tests.node.kept_values import KeptValues

N1, N2, N3 = (NodeId(f"n{i}") for i in (1, 2, 3))
Fence: TypeAlias = Callable[[], Awaitable[None]]


class Network:
    """Calls between transports in one process; a node in `deaf` never answers, one in `gone` refuses.

    One in `slow` answers after a while.
    """

    def __init__(self) -> None:
        self.handlers: dict[tuple[NodeId, str], Handler] = {}
        self.deaf: set[NodeId] = set()
        self.gone: set[NodeId] = set()
        self.slow: set[NodeId] = set()


class NetworkTransport:
    def __init__(self, network: Network, me: NodeId) -> None:
        self.network, self.me = network, me
        self.peers: dict[NodeId, str] = {}

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self.peers = dict(addresses)

    def serve(self, method: str, handler: Handler) -> None:
        self.network.handlers[self.me, method] = handler

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        handler = self.network.handlers.get((to, method))
        if to not in self.peers or to in self.network.gone or handler is None:
            raise Unavailable(f"{to} refuses the connection")
        if to in self.network.deaf:
            await asyncio.sleep(0)
            raise DeadlineExceeded(f"{to} did not answer", outcome="unknown")
        if to in self.network.slow:
            await asyncio.sleep(0.05)
        deadline = SystemClock().boottime() + timeout_s
        answer = handler(Incoming(self.me, method, body, deadline, priority))
        return answer if isinstance(answer, bytes) else await answer


def member(index: int) -> Member:
    return Member(NodeId(f"n{index}"), DiskId(f"{index:032x}"), f"127.0.0.1:{7100 + index}")


def document() -> Topology:
    return first_topology("demo", [member(i) for i in (1, 2, 3)])


def later(topology: Topology, epoch: int, *, changed: int = 0) -> Topology:
    """A later document in which the row of partition `changed` is new."""
    rows = list(topology.rows)
    rows[changed] = replace(rows[changed], row_epoch=Epoch(epoch))
    return replace(topology, epoch=Epoch(epoch), rows=tuple(rows))


class Node:
    """An agent with its disk; `restart` is a new process on the same disk."""

    def __init__(self, network: Network, index: int, disk: KeptValues | None = None) -> None:
        self.network, self.index, self.disk = network, index, disk or KeptValues()
        self.agent = self.restart()

    def restart(self, disk_id: str | None = None, fence: Fence | None = None) -> TopologyAgent:
        m, disk = member(self.index), DiskId(disk_id or member(self.index).disk)
        transport = NetworkTransport(self.network, m.id)
        self.agent = TopologyAgent(m.id, disk=disk, store=self.disk, transport=transport, fence=fence)
        for method, handler in self.agent.handlers().items():
            transport.serve(method, handler)
        return self.agent

    def is_given(self, topology: Topology) -> None:
        self.disk.durable["topology"] = topology.encode()
        self.disk.durable["topology-formed"] = topology.cluster.encode()


@pytest.fixture
def network() -> Network:
    return Network()


async def test_init_is_on_the_disk_by_the_time_it_is_answered(network: Network) -> None:
    node = Node(network, 1)
    with pytest.raises(Unavailable, match="belongs to no cluster yet"):
        node.agent.check_row(PartitionId(0), Epoch(1))
    await node.agent.take_first(document().encode())
    assert Topology.decode(node.disk.durable["topology"]) == document()


async def test_a_first_document_that_cannot_count_any_more_is_told_with_who_is_elsewhere(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """n2 has another cluster's document; n3 refuses links, and is known by that."""
    one, two = (Node(network, i) for i in (1, 2))
    other = first_topology("other", [member(i) for i in (2, 3, 4)])

    def of_another(_: Incoming) -> bytes:
        raise ProtocolMismatch("of another cluster", detail={"clusters": {"n3": other.cluster}})

    network.handlers[N3, PULL] = of_another
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.agent.run())
        await one.agent.take_first(document().encode())
        await asyncio.sleep(0.05)
        assert [*one.agent.reasons] == [], "two of three may hold it yet"
        await two.agent.take_first(other.encode())
        for _ in range(1000):
            if "serves nothing" in caplog.text:
                break
            await asyncio.sleep(0.01)
        (reason,) = one.agent.reasons
        assert "n2, n3 belong to another cluster" in reason and "`ringmill node reset DIR`" in reason
        network.gone.update([N2, N3])
        await asyncio.sleep(0.1)
        assert [*one.agent.reasons] == [reason] and caplog.text.count("serves nothing") == 1
        running.cancel()
    assert not one.agent.serving


async def test_a_cluster_serves_once_a_majority_of_its_voters_holds_the_first_document(
    network: Network,
) -> None:
    one, two, three = (Node(network, i) for i in (1, 2, 3))
    network.gone.add(N3)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(node.agent.run()) for node in (one, two)]
        await one.agent.take_first(document().encode())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not one.agent.serving
        with pytest.raises(Unavailable, match="not formed yet"):
            one.agent.check_row(PartitionId(0), Epoch(1))
        await two.agent.take_first(document().encode())
        async with asyncio.timeout(10):
            await one.agent.wait_formed()
            await two.agent.wait_formed()
        for task in running:
            task.cancel()
    assert one.agent.serving and two.agent.serving and not three.agent.serving
    network.gone.update([N1, N2, N3])
    await one.restart().start()
    assert one.agent.serving, "once formed, it needs nobody to serve after a restart"


async def test_a_cluster_of_one_is_formed_by_its_first_document(network: Network) -> None:
    node = Node(network, 1)
    await node.agent.take_first(first_topology("solo", [member(1)], r=1, w=1).encode())
    assert node.agent.serving


async def test_init_can_be_repeated_even_at_once_and_by_many(network: Network) -> None:
    node = Node(network, 1)
    answers = await asyncio.gather(*(node.agent.take_first(document().encode()) for _ in range(5)))
    assert {answer.cluster for answer in answers} == {document().cluster}


async def test_a_repeated_init_does_not_bring_an_old_epoch_back(network: Network) -> None:
    node = Node(network, 1)
    node.is_given(later(document(), 4))
    await node.restart().start()
    assert (await node.agent.take_first(document().encode())).epoch == 4


async def test_a_node_of_a_cluster_refuses_another(network: Network) -> None:
    node = Node(network, 1)
    await node.agent.take_first(document().encode())
    other = first_topology("other", [member(1)], r=1, w=1)
    with pytest.raises(InvalidArgument, match="belongs to cluster demo"):
        await node.agent.take_first(other.encode())


async def test_two_clusters_at_once_leave_one(network: Network) -> None:
    node = Node(network, 1)
    other = first_topology("other", [member(1)], r=1, w=1)
    answers = await asyncio.gather(
        node.agent.take_first(document().encode()),
        node.agent.take_first(other.encode()),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Topology, InvalidArgument]


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (first_topology("demo", [member(2), member(3)]), "does not name n1 with disk"),
        (first_topology("demo", [replace(member(1), disk=DiskId("f" * 32))], r=1, w=1), "does not name n1"),
        (later(document(), 2), "begins with epoch 1"),
    ],
)
async def test_a_document_that_is_not_ours_to_begin_with_is_refused(
    network: Network, topology: Topology, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await Node(network, 1).agent.take_first(topology.encode())


async def test_a_restart_takes_the_newest_document_a_member_has(network: Network) -> None:
    one, two, three = (Node(network, i) for i in (1, 2, 3))
    for node in (one, two, three):
        node.is_given(document())
    two.is_given(later(document(), 7))
    network.gone.add(N3)
    await two.restart().start()
    await one.restart().start()
    assert one.agent.epoch == 7
    assert Topology.decode(one.disk.durable["topology"]).epoch == 7


async def test_a_restart_waits_for_each_member_when_one_has_missed_an_epoch_too(network: Network) -> None:
    one, two, three = (Node(network, i) for i in (1, 2, 3))
    for node in (one, two):
        node.is_given(document())
        await node.restart().start()
    three.is_given(later(document(), 7))
    await three.restart().start()
    network.slow.add(N3)
    await one.restart().start()
    assert one.agent.epoch == 7


async def test_a_document_that_has_come_is_adopted_though_an_older_one_is_enough(network: Network) -> None:
    one, two, three = (Node(network, i) for i in (1, 2, 3))
    one.disk = KeptValues(sync_s=0.2)
    one.is_given(document())
    await one.restart().start()
    for node, epoch in ((two, 3), (three, 7)):
        node.is_given(later(document(), epoch))
        await node.restart().start()
    network.slow.add(N3)
    await one.agent.know(Epoch(2))
    assert one.agent.epoch == 7


async def test_a_restart_serves_by_its_own_document_when_nobody_answers(network: Network) -> None:
    node = Node(network, 1)
    node.is_given(document())
    network.gone.add(N2)
    network.deaf.add(N3)
    await node.restart().start()
    assert node.agent.serving
    assert node.agent.epoch == 1


async def test_a_request_older_than_its_row_is_refused_but_not_one_older_than_other_rows(
    network: Network,
) -> None:
    node = Node(network, 1)
    node.is_given(later(document(), 3, changed=5))
    await node.restart().start()
    assert node.agent.check_row(PartitionId(4), Epoch(1)).row_epoch == 1
    with pytest.raises(WrongEpoch) as refused:
        node.agent.check_row(PartitionId(5), Epoch(2))
    assert refused.value.detail["epoch"] == 3


async def test_a_request_newer_than_what_is_known_makes_the_node_pull(network: Network) -> None:
    one, two = Node(network, 1), Node(network, 2)
    one.is_given(document())
    await one.restart().start()
    two.is_given(later(document(), 3, changed=5))
    await two.restart().start()
    with pytest.raises(WrongEpoch, match="knows epoch 1 only"):
        one.agent.check_row(PartitionId(5), Epoch(3))
    await one.agent.know(Epoch(3), ask=N2)
    assert one.agent.check_row(PartitionId(5), Epoch(3)).row_epoch == 3


async def test_an_epoch_that_nobody_has_is_an_error(network: Network) -> None:
    one, two = Node(network, 1), Node(network, 2)
    for node in (one, two):
        node.is_given(document())
        await node.restart().start()
    with pytest.raises(Unavailable, match="no member answered with topology epoch 9"):
        await one.agent.know(Epoch(9), ask=N2)


async def test_what_gossip_hears_of_is_pulled(network: Network) -> None:
    one, two = Node(network, 1), Node(network, 2)
    one.is_given(document())
    await one.restart().start()
    two.is_given(later(document(), 3))
    await two.restart().start()
    adopted = asyncio.Event()
    one.agent.on_change(lambda topology: adopted.set() if topology.epoch == 3 else None)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(one.agent.run())
        network.gone.add(N2)
        one.agent.heard_of(Epoch(3), N2)  # lost: N2 is away, the next mention must count again
        for _ in range(20):
            await asyncio.sleep(0)
        assert one.agent.epoch == 1
        network.gone.clear()
        one.agent.heard_of(Epoch(3), N2)
        async with asyncio.timeout(10):
            await adopted.wait()
        running.cancel()


@pytest.mark.parametrize("lack", [errno.ENOSPC, errno.EMFILE])
async def test_a_new_disk_that_is_full_at_first_waits_for_space(network: Network, lack: int) -> None:
    one, two = Node(network, 1), Node(network, 2)
    two.is_given(later(document(), 3))
    await two.restart().start()
    fences = list[int]()

    async def fence() -> None:
        fences.append(lack)
        if len(fences) == 1:
            raise OSError(lack, "none left")

    agent = one.restart(fence=fence)
    await agent.ask_members(document())
    assert agent.epoch == 0, "nothing is adopted that is not fenced"
    await agent.ask_members(document())
    assert (agent.epoch, len(fences)) == (3, 2)


async def test_a_document_of_another_cluster_is_never_adopted_from_a_peer(network: Network) -> None:
    one, two = Node(network, 1), Node(network, 2)
    one.is_given(document())
    await one.restart().start()
    two.is_given(later(first_topology("other", [member(1), member(2)]), 9))
    await two.restart().start()
    with pytest.raises(Unavailable):
        await one.agent.know(Epoch(9), ask=N2)
    assert one.agent.epoch == 1


async def test_a_node_on_another_disk_than_the_named_one_serves_nothing(network: Network) -> None:
    node = Node(network, 1)
    node.is_given(document())
    await node.restart(disk_id="f" * 32).start()
    assert not node.agent.serving
    assert not any(node.agent.owns(PartitionId(p)) for p in range(256))
    with pytest.raises(Unavailable, match=r"the topology names 0{31}1"):
        node.agent.check_row(PartitionId(0), Epoch(1))


async def test_a_damaged_stored_document_stops_the_start(network: Network) -> None:
    node = Node(network, 1)
    node.disk.durable["topology"] = document().encode()[:-1]
    with pytest.raises(CorruptData, match="stored topology of n1 is damaged"):
        await node.restart().start()
