"""A node remembers the documents that it has held, and damage of that memory harms nothing."""

from __future__ import annotations

from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member
from ringmill.node.membership.history.topology_history import TopologyHistory
from tests.node.kept_values import KeptValues


def following(topology: Topology, name: str) -> Topology:
    after = created(topology, NewKeyspace(name))
    assert after is not None
    return after


async def test_former_documents_are_durable_with_the_one_that_follows() -> None:
    one = first_topology("t", [Member(NodeId("n1"), DiskId("1" * 32), "h:1")], partitions=16, n=1, r=1, w=1)
    two = following(one, "a")
    store = KeptValues()
    history = TopologyHistory(store)
    history.saw(one)
    await store.put_synced("topology", one.encode())
    assert set(store.durable) == {"topology"}, "the first document has none before it"
    history.saw(two)
    await store.put_synced("topology", two.encode())
    again = TopologyHistory(store)
    again.saw(two)
    assert again.epochs() == (1, 2)
    assert (again.find(Epoch(1)), again.find(Epoch(2))) == (one.encode(), two.encode())
    assert again.find(Epoch(3)) == b""


async def test_a_damaged_memory_begins_anew() -> None:
    store = KeptValues()
    store.durable["former-topologies"] = b"damaged"
    assert TopologyHistory(store).epochs() == ()
