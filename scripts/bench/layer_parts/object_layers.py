"""Layers that decide: where a key lives, what a write replaces, when a quorum is met."""

from __future__ import annotations

from layer_parts.layer import KEY, NODES, VALUE, Layer
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import Actor, DiskId, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.quorum.receipt import Durability, QuorumAck, QuorumReceipt, Role
from ringmill.cluster.quorum.tally import ReadTally, WriteTally
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member, Row
from ringmill.cluster.versions.context_token import NO_SECRET, ContextToken
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.lone_value import lone_of, overwritten, replaces
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject, merge, supersede
from ringmill.node.replica.routes import Routes

__all__ = ["object_layers", "sample_object"]

KEYSPACE = KeyspaceId(1, 0)
ACTOR = Actor("n1#1.9f31c0aa52")
OWNERS = tuple(NodeId(name) for name in NODES)


def sample_object(counter: int = 1) -> StoredObject:
    """An object of one sibling, as one put in the place of another leaves it."""
    return StoredObject(VersionVector(((ACTOR, counter),)), (_sibling(counter),), HybridTime(0))


def object_layers() -> list[Layer]:
    return [*_routing(), *_versions(), *_quorum()]


def _sibling(counter: int) -> Sibling:
    when = HybridTime((1_764_000_000_000 << 16) + counter)
    return Sibling(Dot(ACTOR, counter), VALUE, when, OperationId(1 << 60, counter, when))


class _View:
    """A topology that everybody serves by: what the node's agent proves besides is not in these figures."""

    def __init__(self) -> None:
        members = [
            Member(node, DiskId(f"{number:032x}"), f"127.0.0.1:{7101 + number}")
            for number, node in enumerate(OWNERS)
        ]
        self.current: Topology = first_topology("layers", members)
        self.serving = True

    def serving_topology(self) -> Topology:
        return self.current

    def check_row(self, partition: PartitionId, epoch: Epoch) -> Row:
        return self.current.row(partition)

    async def know(self, epoch: Epoch, *, ask: NodeId | None = None) -> None:
        raise AssertionError("the epoch is the present one")

    async def newest(self, within_s: float) -> Topology:
        return self.current

    async def wait_formed(self) -> None:
        return


def _no_link(address: str) -> Link:
    raise AssertionError(f"nothing is sent to {address}")


def _routing() -> list[Layer]:
    view = _View()
    routes, topology, epoch = Routes(NodeId("n1"), view), view.current, Epoch(1)
    find = routes.of_message(KEYSPACE, epoch)
    assert find is not None
    directory = Directory(["127.0.0.1:7101"], _no_link)
    directory.topology = topology
    return [
        Layer("routing: partition of a key", 4, 3, lambda: topology.partition_of(KEYSPACE, KEY)),
        Layer("routing: addresses for a key", 1, 1, lambda: directory.addresses_for("default", KEY)),
        Layer("routing: route of a client", 1, 1, lambda: routes.by_name_now("default", KEY, epoch)),
        Layer("routing: route of a peer", 2, 1, lambda: find(KEY)),
    ]


def _versions() -> list[Layer]:
    old, same, new = sample_object(1), sample_object(1), sample_object(2)
    encoded, clock = encode_object(old), HybridClock(SystemClock())
    fresh = _sibling(2)
    lone, newer = lone_of(encoded), lone_of(encode_object(new))
    assert lone is not None and newer is not None
    return [
        Layer("object: decode", 0, 0, lambda: decode_object(encoded)),
        Layer("object: encode", 1, 0, lambda: encode_object(old)),
        Layer("object: supersede", 0, 0, lambda: supersede(old, old.context, fresh)),
        Layer("object: merge a newer one", 0, 0, lambda: merge(old, new)),
        Layer("object: merge an equal one", 0, 0, lambda: merge(old, same)),
        Layer("lone value: its fields", 5, 1, lambda: lone_of(encoded)),
        Layer("lone value: a write over it", 1, 0, lambda: overwritten(lone, fresh)),
        Layer("lone value: whether one replaces it", 2, 0, lambda: replaces(newer, lone)),
        Layer("clock: stamp", 1, 0, clock.stamp),
        Layer("clock: now", 2, 1, clock.now),
        Layer("clock: observe", 2, 0, lambda: clock.observe(HybridTime(1))),
    ]


def _quorum() -> list[Layer]:
    dot, time, epoch = Dot(ACTOR, 2), HybridTime(1 << 60), Epoch(1)
    context = ContextToken(sample_object(2).context, time)

    def count_acks() -> bool:
        tally = WriteTally(2, OWNERS, epoch)
        tally.record_ack(OWNERS[0], Durability.SYNCED, epoch)
        tally.record_ack(OWNERS[1], Durability.SYNCED, epoch)
        return tally.is_met

    def count_answers() -> bool:
        tally = ReadTally(2, OWNERS, epoch)
        tally.next_to_ask()
        tally.record_answer(OWNERS[0], epoch)
        tally.record_answer(OWNERS[1], epoch)
        return tally.is_met

    def receipt() -> QuorumReceipt:
        acks = [QuorumAck(node, Role.OWNER, Durability.SYNCED) for node in OWNERS[:2]]
        return QuorumReceipt(dot, NO_SECRET.token(context, KEYSPACE, KEY), time, epoch, 2, (*acks,), False)

    return [
        Layer("quorum: tally of a write", 1, 0, count_acks),
        Layer("quorum: tally of a read", 0, 1, count_answers),
        Layer("quorum: receipt", 1, 0, receipt),
        Layer("quorum: context token", 0, 1, lambda: NO_SECRET.token(context, KEYSPACE, KEY)),
    ]
