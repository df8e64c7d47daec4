"""A node that belongs to no cluster asks its seeds for the topology, and takes the one that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.access.access_changes import required, without_access
from ringmill.cluster.ring.topology import Member, Owner, Topology, first_topology
from ringmill.cluster.wire.stubs.topology_pb2 import GetTopologyResponse
from ringmill.node.joining import asking_seeds
from ringmill.node.joining.asking_seeds import Seeds
from ringmill.node.membership.topology_agent import TopologyAgent
from tests.node.kept_values import KeptValues

AnswerT = TypeVar("AnswerT", bound=Message)
N1, DISK = NodeId("n1"), DiskId(f"{1:032x}")
N2 = Member(NodeId("n2"), DiskId(f"{2:032x}"), "127.0.0.1:7102")


@dataclass
class Members:
    """The other members, as a node reaches them; they hold `topology` when they are there."""

    topology: Topology | None = None
    peers: dict[NodeId, str] = field(default_factory=dict)

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        self.peers = dict(addresses)

    def serve(self, method: str, handler: object) -> None: ...

    async def call(self, to: NodeId, method: str, body: bytes, **_: object) -> bytes:
        if self.topology is None or to not in self.peers:
            raise Unavailable(f"{to} is away")
        assert method == "topology.pull"
        return self.topology.encode()


@dataclass
class Seed:
    """What a seed holds; it may change while the node asks."""

    topology: Topology | None = None
    asked: int = 0
    closed: bool = False
    then: list[Callable[[], None]] = field(default_factory=list)

    async def unary(self, path: str, request: Message, answer: type[AnswerT], timeout_s: float) -> AnswerT:
        assert path == "/ringmill.v1.Topology/Get"
        self.asked += 1
        document = without_access(self.topology).encode() if self.topology else b""
        told = GetTopologyResponse(document=document)
        if self.then:
            self.then.pop(0)()
        assert isinstance(told, answer)
        return told

    async def close(self) -> None:
        self.closed = True


class Away(Seed):
    async def unary(self, path: str, request: Message, answer: type[AnswerT], timeout_s: float) -> AnswerT:
        self.asked += 1
        raise Unavailable("nobody listens")


def cluster(disk: DiskId = DISK) -> Topology:
    following = required(first(disk), is_required=True)
    assert following is not None
    return following


def first(disk: DiskId = DISK) -> Topology:
    return first_topology("demo", [Member(N1, disk, "127.0.0.1:7101"), N2], n=1, r=1, w=1)


async def asked(*seeds: Seed) -> TopologyAgent:
    """The agent of a node, once it has what it asked its seeds and then the members for."""
    agent = TopologyAgent(N1, disk=DISK, store=KeptValues(), transport=Members(cluster()))
    held = {f"127.0.0.1:{7200 + number}": seed for number, seed in enumerate(seeds)}
    asking = Seeds(Owner(N1, DISK), tuple(held), topology=agent, open_seed=held.__getitem__)
    async with asyncio.timeout(20):
        await asking.run()
    return agent


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking_seeds, "_AGAIN_S", 0.01)


async def test_a_node_takes_the_topology_of_those_who_are_named_beside_it_and_asks_no_more() -> None:
    """As they hold it: what seeds tell is made for clients, and lacks who may do what."""
    away, seed = Away(), Seed(cluster())
    agent = await asked(away, seed)
    assert agent.current == cluster()
    assert (away.asked, seed.asked) == (1, 1) and away.closed and seed.closed


async def test_a_node_asks_until_it_is_named_and_says_once_what_it_waits_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    seed = Seed()
    other = first_topology("demo", [N2], n=1, r=1, w=1)

    def turns(topology: Topology) -> Callable[[], None]:
        return lambda: setattr(seed, "topology", topology)

    wait = lambda: None  # noqa: E731
    seed.then = [wait, turns(other), wait, turns(cluster(DiskId("f" * 32))), turns(cluster())]
    assert (await asked(seed)).current == cluster()
    said = [record.getMessage() for record in caplog.records if "seed 127" in record.getMessage()]
    assert seed.asked == 6 and len(said) == 3
    assert "belongs to no cluster" in said[0] and "has no n1 yet" in said[1] and f"disk {'f' * 32}" in said[2]


async def test_a_node_that_has_a_cluster_or_no_seeds_asks_nobody() -> None:
    seed = Seed(cluster())
    agent = TopologyAgent(N1, disk=DISK, store=KeptValues(), transport=Members())
    await agent.take_first(first().encode())
    await Seeds(Owner(N1, DISK), ("127.0.0.1:7200",), topology=agent, open_seed=lambda _: seed).run()
    assert seed.asked == 0
