"""A change of the members as a plan: the copies to make and to drop, what that costs, and what comes of it.

A plan is a value.  It changes nothing and is kept nowhere: what is done of it shows in the rows of the
topology, and a plan that is made from there is the rest of it (rebalancing.py).

Pure: a function of the document, of what nodes hold, and of who is up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId, PartitionId
from ringmill.cluster.ring.moves import sources_for
from ringmill.cluster.ring.plans.copy_sources import estimated_shares
from ringmill.cluster.ring.plans.member_changes import MemberChanges, members_after
from ringmill.cluster.ring.plans.moving_rate import Copying, MovingRate, projected_s
from ringmill.cluster.ring.plans.rebalancing import full_owners, seat_changes, staying
from ringmill.cluster.ring.plans.wanted_owners import wanted_owners
from ringmill.cluster.ring.quotas import fair_shares
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import Member, Row

__all__ = ["Move", "NodeLoad", "TopologyPlan", "Traffic", "loads_of", "plan_changes"]

Table = Sequence[Sequence[NodeId]]


@dataclass(frozen=True, slots=True)
class Move:
    """One seat of a partition changes hands: `joiner` is filled by the owners, then `leaver` drops its copy.

    Only a table that gets wider or narrower has moves without a leaver or without a joiner.  `size_bytes` is
    an estimate; `source` is the owner that is to send most of it, None when nobody can.
    """

    partition: PartitionId
    joiner: Member | None
    leaver: NodeId | None
    size_bytes: int = 0
    source: NodeId | None = None


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What one member has, beside its fair share by weight, as far as zones allow that.  Bytes: estimates."""

    node: NodeId
    zone: str
    weight: int
    partitions: int
    fair: float
    size_bytes: int

    @property
    def fullness(self) -> float:
        """1 is the fair share."""
        return self.partitions / self.fair if self.fair else float(self.partitions > 0)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one node is to send another, all in all."""

    source: NodeId
    joiner: NodeId
    partitions: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TopologyPlan:
    """What it takes to go from the document of `epoch` to the members `members`.

    Moves are in ring order; one with the same partition as the move before it follows when that is done.  Of
    partitions `short` fewer owners are whole and up than it takes to know each acknowledged write; `missing`
    are their other owners, as far as their disks are there.  Partitions `unsettled` are moving already and
    are left out.  Each partition keeps at least `replicas` copies, and has `replicas_after` in the end.
    """

    epoch: int
    members: tuple[Member, ...]
    moves: tuple[Move, ...]
    before: tuple[NodeLoad, ...]
    after: tuple[NodeLoad, ...]
    traffic: tuple[Traffic, ...]
    seconds: float
    replicas: int
    replicas_after: int
    short: tuple[PartitionId, ...] = ()
    missing: tuple[NodeId, ...] = ()
    unsettled: tuple[PartitionId, ...] = ()
    rate: MovingRate = field(default_factory=MovingRate)

    @property
    def copies(self) -> int:
        """The copies of partitions to make."""
        return sum(move.joiner is not None for move in self.moves)

    @property
    def size_bytes(self) -> int:
        return sum(move.size_bytes for move in self.moves)

    @property
    def balance_before(self) -> float:
        """How full the fullest node is: 1 is its fair share."""
        return max(load.fullness for load in self.before)

    @property
    def balance_after(self) -> float:
        return max(load.fullness for load in self.after)


def plan_changes(
    topology: Topology,
    changes: MemberChanges,
    *,
    up: Collection[NodeId],
    dead: Collection[NodeId] = (),
    held: Mapping[NodeId, int] | None = None,
    sizes: Sequence[float] | None = None,
    rate: MovingRate | None = None,
) -> TopologyPlan:
    """The plan; without changes, that of what is out of balance.

    `up` are the nodes that are up and whole, `dead` those whose disks are gone.  `held` are the bytes that
    nodes hold, `sizes` those of each partition where they are known.  Raises InvalidArgument for changes that
    cannot be made.
    """
    rate = rate or MovingRate()
    members = members_after(topology, changes)
    wanted = wanted_owners(topology, members, changes)
    weighed = estimated_shares(topology, held or {}) if sizes is None else sizes
    before = loads_of(topology, held=held, sizes=weighed)
    moves = _moves(topology, members, wanted, weighed, up)
    short = _short(topology, moves, up)
    lacked = {node for at in short for node in full_owners(topology.rows[at]) if node not in up}
    lacked = lacked.difference(dead) or lacked  # a disk that is gone is not to be brought back
    narrowest = min(map(len, wanted))
    return TopologyPlan(
        epoch=topology.epoch,
        members=tuple(members),
        moves=moves,
        before=before,
        after=_loads(members, _table_after(topology, moves), topology.n, _held_after(before, moves, weighed)),
        traffic=_traffic(moves),
        seconds=projected_s(map(_copying, moves), rate),
        replicas=min(narrowest, *(len(row.owners) for row in topology.rows)),
        replicas_after=narrowest,
        short=short,
        missing=tuple(member.id for member in topology.members if member.id in lacked),
        unsettled=tuple(PartitionId(at) for at, row in enumerate(topology.rows) if not _is_settled(row)),
        rate=rate,
    )


def loads_of(
    topology: Topology, *, held: Mapping[NodeId, int] | None = None, sizes: Sequence[float] | None = None
) -> tuple[NodeLoad, ...]:
    """What each member has at present; `held` are the bytes that nodes hold, as far as they are known."""
    weighed = estimated_shares(topology, held or {}) if sizes is None else sizes
    known = _estimated(topology, weighed) | dict(held or {})
    return _loads(topology.members, [full_owners(row) for row in topology.rows], topology.n, known)


def _moves(
    topology: Topology,
    members: Sequence[Member],
    wanted: Table,
    sizes: Sequence[float],
    up: Collection[NodeId],
) -> tuple[Move, ...]:
    """In ring order.  The owner that has sent the least so far is to send the next copy."""
    by_id = {member.id: member for member in members}
    zones = {member.id: member.zone for member in (*topology.members, *members)}
    sent = {member.id: 0 for member in topology.members}
    moves: list[Move] = []
    for at, (row, goal) in enumerate(zip(topology.rows, wanted, strict=True)):
        owners = full_owners(row)
        able = [node for node in owners if node in up]
        for joiner, leaver in seat_changes(owners, goal, zones) if _is_settled(row) else ():
            if joiner is None:
                moves.append(Move(PartitionId(at), None, leaver))
                continue
            source = min(able, key=lambda node: (sent[node], node), default=None)
            if source is not None:
                sent[source] += round(sizes[at]) + 1  # empty ones are dealt out, too
            moves.append(Move(PartitionId(at), by_id[joiner], leaver, round(sizes[at]), source))
    return tuple(moves)


def _is_settled(row: Row) -> bool:
    """Whether nothing of the row moves, or waits to."""
    return not (row.is_joint or row.wanted)


def _short(topology: Topology, moves: Sequence[Move], up: Collection[NodeId]) -> tuple[PartitionId, ...]:
    short: dict[PartitionId, None] = {}
    for move in moves:
        row = topology.row(move.partition)
        sources = sum(node in up for node in full_owners(row))
        if move.joiner is not None and sources < sources_for(topology, row):
            short[move.partition] = None
    return tuple(short)


def _table_after(topology: Topology, moves: Sequence[Move]) -> Table:
    rows = [[*full_owners(row)] for row in topology.rows]
    for move in moves:
        if move.leaver is not None:
            rows[move.partition].remove(move.leaver)
        if move.joiner is not None:
            rows[move.partition].append(move.joiner.id)
    return rows


def _estimated(topology: Topology, sizes: Sequence[float]) -> dict[NodeId, int]:
    known = {member.id: 0.0 for member in topology.members}
    for row, size in zip(topology.rows, sizes, strict=True):
        for node in full_owners(row):
            known[node] += size
    return {node: round(size) for node, size in known.items()}


def _held_after(
    before: Sequence[NodeLoad], moves: Sequence[Move], sizes: Sequence[float]
) -> dict[NodeId, int]:
    known = {load.node: load.size_bytes for load in before}
    for move in moves:
        if move.joiner is not None:
            known[move.joiner.id] = known.get(move.joiner.id, 0) + move.size_bytes
        if move.leaver is not None:
            known[move.leaver] = max(0, known.get(move.leaver, 0) - round(sizes[move.partition]))
    return known


def _loads(
    members: Sequence[Member], table: Table, n: int, held: Mapping[NodeId, int]
) -> tuple[NodeLoad, ...]:
    """The load of each member, in their order; one that is leaving has no share."""
    load = Counter(node for row in table for node in row)
    owners = staying(members)
    fair = fair_shares(owners, len(table), min(n, len(owners))) if owners else {}
    return tuple(
        NodeLoad(
            member.id, member.zone, member.weight, load[member.id], float(fair.get(member.id, 0)),
            held.get(member.id, 0),
        )
        for member in members
    )  # fmt: skip


def _traffic(moves: Sequence[Move]) -> tuple[Traffic, ...]:
    pairs: dict[tuple[NodeId, NodeId], list[int]] = {}
    for move in moves:
        if move.joiner is not None and move.source is not None:
            pairs.setdefault((move.source, move.joiner.id), []).append(move.size_bytes)
    return tuple(Traffic(*pair, len(pairs[pair]), sum(pairs[pair])) for pair in sorted(pairs))


def _copying(move: Move) -> Copying:
    if move.joiner is None:
        return Copying(None, "", 0)
    return Copying(move.joiner.id, move.joiner.host, move.size_bytes)
