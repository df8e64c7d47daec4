"""Finds the partition, owners and copy of a key, under an epoch that both sides agree on.

A coordinator uses the epoch of its client, a replica the epoch of the message.  A request with an epoch older
than the row is refused as WrongEpoch; one with a newer epoch makes this node fetch the topology first (T5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, Unavailable, WrongEpoch
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.topology import KeyspaceEntry, Row, Topology
from ringmill.node.contracts import TopologyView
from ringmill.node.replica.stored_key import Copy, HintKey, Place

__all__ = ["REGISTERS", "Route", "Routes"]

REGISTERS: Final = "registers"
"""The keyspace of registers that every cluster is formed with."""

_LOOK_S: Final = 2.0
"""The longest look for a keyspace that was made and that this node has not heard of."""


class Route(NamedTuple):
    """Where one key lives under one row."""

    keyspace: KeyspaceEntry
    key: bytes
    partition: PartitionId
    row: Row
    owners: tuple[NodeId, ...]  # of the row, in ring order
    epoch: Epoch  # of the topology the row was taken from
    place: Place  # of the key on each owner

    @property
    def hint_key(self) -> HintKey:
        return HintKey(self.partition, self.keyspace.id, self.key)


class Routes:
    """Routes by the topology as this node holds it."""

    def __init__(self, node: NodeId, topology: TopologyView) -> None:
        self.node = node
        self._view = topology
        self._copies: dict[PartitionId, tuple[Row, Copy]] = {}  # of this node, with the rows that name them

    async def by_name(self, keyspace: str, key: bytes, epoch: Epoch, within_s: float) -> Route:
        """The route of a client's request; `epoch` 0 when the client knows none, keyspace "" is `default`.

        A keyspace that this node has not heard of is asked for, for half of `within_s` at most, so that the
        answer reaches a caller who waits that long.  Raises WrongEpoch, InvalidArgument for an unknown
        keyspace, Unavailable before there is a topology, and when nobody tells of the keyspace.
        """
        topology = await self._holding(keyspace or "default", epoch, within_s)
        return self._route(topology, _objects(topology, keyspace), key, epoch)

    async def of_any_kind(self, keyspace: str, key: bytes, epoch: Epoch, within_s: float) -> Route:
        """As `by_name`, also in a keyspace that holds registers."""
        topology = await self._holding(keyspace or "default", epoch, within_s)
        return self._route(topology, topology.keyspace_named(keyspace or "default"), key, epoch)

    async def objects_named(
        self, keyspace: str, epoch: Epoch, within_s: float
    ) -> tuple[Topology, KeyspaceEntry]:
        """Keyspace and topology of a client's request about many keys.  Raises what `by_name` raises."""
        topology = await self._holding(keyspace or "default", epoch, within_s)
        return topology, _objects(topology, keyspace)

    async def register_by_name(self, keyspace: str, key: bytes, epoch: Epoch, within_s: float) -> Route:
        """The route of a client's request for a register; keyspace "" is `registers`.

        A keyspace that this node has not heard of is asked for, as in `by_name`, and it raises the same.
        """
        topology = await self._holding(keyspace or REGISTERS, epoch, within_s)
        named = topology.keyspace_named(keyspace or REGISTERS)
        if named.kind != "registers":
            raise InvalidArgument(
                f"keyspace {named.name!r} holds {named.kind}: cas and incr need one that holds registers"
            )
        return self._route(topology, named, key, epoch)

    async def of_register_again(self, former: Route, epoch: Epoch, within_s: float) -> Route:
        """The route of a register by the newest document of this node, that of `epoch` or a later one.

        Raises Unavailable when nobody tells of `epoch`, InvalidArgument when the keyspace is gone.
        """
        topology = await self._holding(former.keyspace.name, epoch, within_s)
        return self._route(topology, topology.keyspace(former.keyspace.id), former.key, topology.epoch)

    def by_name_now(self, keyspace: str, key: bytes, epoch: Epoch) -> Route | None:
        """The route of a client's request by the topology at hand; None when this node has to catch up first.

        Raises WrongEpoch, InvalidArgument for a keyspace of another kind, Unavailable.
        """
        topology = self._view.serving_topology()
        if epoch > topology.epoch or not topology.has_keyspace(keyspace or "default"):
            return None
        return self._route(topology, _objects(topology, keyspace), key, epoch)

    async def by_id(self, keyspace: KeyspaceId, key: bytes, epoch: Epoch, *, sender: NodeId) -> Route:
        """The route of a peer's message to this replica.

        Raises WrongEpoch also when this node is no owner, Unavailable when it cannot catch up.
        """
        return self._owned(await self._at(epoch, sender), keyspace, key, epoch)

    def by_id_now(self, keyspace: KeyspaceId, key: bytes, epoch: Epoch) -> Route | None:
        """The route of a peer's message to this replica by the topology at hand; None when this node has to
        catch up first.  Raises WrongEpoch, also when it is no owner, Unavailable."""
        topology = self._view.serving_topology()
        return self._owned(topology, keyspace, key, epoch) if epoch <= topology.epoch else None

    def of_message(self, keyspace: KeyspaceId, epoch: Epoch) -> Callable[[bytes], Route] | None:
        """A function that finds the route of each key of a peer's message, to be used before the next await;
        None when this node has to catch up first.

        Raises InvalidArgument for an unknown keyspace; the function raises WrongEpoch.
        """
        topology = self._view.serving_topology()
        if epoch > topology.epoch:
            return None
        named = topology.keyspace(keyspace)

        def find(key: bytes) -> Route:
            return self._checked(self._route(topology, named, key, epoch))

        return find

    async def of_fallback(
        self, keyspace: KeyspaceId, key: bytes, epoch: Epoch, *, sender: NodeId, owner: NodeId | None = None
    ) -> Route:
        """The route of a peer's message to this node as one that stands in for an owner (rule W7).

        Raises WrongEpoch when this node owns the key, or when `owner` does not; else what `by_id` raises.
        """
        topology = await self._at(epoch, sender)
        route = self._route(topology, topology.keyspace(keyspace), key, epoch)
        if self.node in route.owners or (owner is not None and owner not in route.owners):
            raise WrongEpoch(
                f"{self.node} does not stand in for {owner or 'an owner'} of partition {route.partition} in "
                f"epoch {topology.epoch}",
                detail={"epoch": topology.epoch, "partition": route.partition},
                hint="fetch the topology again",
            )
        return route

    def fallbacks(self, route: Route) -> tuple[NodeId, ...]:
        """Who may stand in for owners of a key, in the order of the ring; nobody in a strict keyspace."""
        return self._view.serving_topology().fallbacks(route.partition) if route.keyspace.is_sloppy else ()

    def stays(self, node: NodeId) -> bool:
        """Whether a member is neither on its way in, which may be given up, nor on its way out."""
        topology = self._view.serving_topology()
        return topology.has_member(node) and topology.member(node).state == "up"

    async def place_of(
        self, keyspace: KeyspaceId, key: bytes, epoch: Epoch, *, sender: NodeId
    ) -> Place | None:
        """Where an object that a peer brings lies here; None for one of a keyspace that was dropped, which
        nobody keeps (rule P6).  Raises what `by_id` raises."""
        topology = await self._at(epoch, sender)
        if topology.has_dropped(keyspace):
            return None
        return self._owned(topology, keyspace, key, epoch).place

    def is_current(self, route: Route) -> bool:
        """Whether the route was found by the newest document that this node holds, so its row is the same."""
        newest = self._view.current
        return newest is not None and newest.epoch == route.epoch

    def check_same(self, route: Route) -> None:
        """Raise WrongEpoch when the owners of the key have changed since its route was found (T5),
        InvalidArgument when its keyspace was dropped (P6)."""
        self.check_row(route.partition, route.row.row_epoch)
        topology = self._view.serving_topology()
        if topology.epoch != route.epoch:
            topology.keyspace(route.keyspace.id)

    def check_row(self, partition: PartitionId, row_epoch: Epoch) -> None:
        """Raise WrongEpoch when the owners of the partition have changed since that epoch (T5)."""
        self._view.check_row(partition, row_epoch)

    def check_partitions(self, partitions: Iterable[PartitionId]) -> None:
        """Raise InvalidArgument for one that the topology does not have, Unavailable when there is none."""
        document = self._view.current or self._view.serving_topology()
        for partition in partitions:
            document.row(partition)

    def copy_of(self, partition: PartitionId, row: Row) -> Copy:
        """This node's copy of a partition under a row that names it."""
        known = self._copies.get(partition)
        if known is None or known[0] is not row:
            known = self._copies[partition] = row, Copy(partition, row.copy_epoch_of(self.node))
        return known[1]

    async def row_of(self, partition: PartitionId, epoch: Epoch, *, sender: NodeId) -> Row:
        """The row of a peer's message about a whole partition.  Raises what `by_id` raises."""
        row = await self.row_at(partition, epoch, sender=sender)
        if self.node not in row.nodes:
            raise _not_an_owner(self.node, partition, self._view.serving_topology().epoch)
        return row

    async def row_at(self, partition: PartitionId, epoch: Epoch, *, sender: NodeId) -> Row:
        """The row of a message about a whole partition, whether or not this node is an owner.

        Raises WrongEpoch, Unavailable when it cannot catch up.
        """
        topology = await self._at(epoch, sender)
        return self._view.check_row(partition, epoch or topology.epoch)

    def is_sloppy_after(self, epoch: Epoch) -> bool:
        """Whether this node knows of a newer document than that of `epoch`, with a sloppy keyspace."""
        topology = self._view.serving_topology()
        return topology.epoch > epoch and any(each.is_sloppy for each in topology.keyspaces)

    async def _holding(self, keyspace: str, epoch: Epoch, within_s: float) -> Topology:
        """A topology of at least `epoch`, and the newest one unless it has this keyspace (rule T5).

        Raises Unavailable when nobody can tell whether there is a newer one.
        """
        topology = await self._at(epoch, None)
        if topology.has_keyspace(keyspace):
            return topology
        try:
            return await self._view.newest(min(_LOOK_S, within_s / 2))
        except QuorumNotReached as error:
            raise Unavailable(
                f"{self.node} has not heard of a keyspace {keyspace[:80]!r}, and cannot ask: {error.message}",
                hint=error.hint,
            ) from error

    async def _at(self, epoch: Epoch, ask: NodeId | None) -> Topology:
        topology = self._view.serving_topology()
        if epoch <= topology.epoch:
            return topology
        await self._view.know(epoch, ask=ask)
        return self._view.serving_topology()

    def _owned(self, topology: Topology, keyspace: KeyspaceId, key: bytes, epoch: Epoch) -> Route:
        return self._checked(self._route(topology, topology.keyspace(keyspace), key, epoch))

    def _checked(self, route: Route) -> Route:
        """Raises WrongEpoch unless this node is an owner."""
        if self.node not in route.owners:
            raise _not_an_owner(self.node, route.partition, route.epoch)
        return route

    def _route(self, topology: Topology, keyspace: KeyspaceEntry, key: bytes, epoch: Epoch) -> Route:
        """`topology` is the present one; an epoch under which its row did not stand is refused (T5)."""
        id, newest = keyspace.id, topology.epoch
        partition = topology.partition_of(id, key)
        row = topology.rows[partition]
        if not row.row_epoch <= (epoch or newest) <= newest:
            row = self._view.check_row(partition, epoch)
        known = self._copies.get(partition)
        copy = known[1] if known is not None and known[0] is row else self.copy_of(partition, row)
        return Route(keyspace, key, partition, row, row.nodes, newest, Place(copy, id, key))


def _objects(topology: Topology, keyspace: str) -> KeyspaceEntry:
    named = topology.keyspace_named(keyspace or "default")
    if named.kind != "objects":
        raise InvalidArgument(
            f"keyspace {named.name!r} holds {named.kind}: no plain puts and gets there, and no scans",
            hint="`ringmill cas`, `ringmill incr` and `ringmill register` use it",
        )
    return named


def _not_an_owner(node: NodeId, partition: PartitionId, epoch: Epoch) -> WrongEpoch:
    return WrongEpoch(
        f"{node} does not own partition {partition} in epoch {epoch}",
        detail={"epoch": epoch, "partition": partition},
        hint="fetch the topology again",
    )
