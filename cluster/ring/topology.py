"""The topology document: the members and the owners of each partition, under one epoch.

A document is decided, never gossiped, and never changed: a later one has the next epoch.  Its bytes are
canonical (one document, one encoding), so that its hash can name the cluster.  Nothing here knows who is
alive.  Keyspaces, members and rows, and their fields: topology_entries.py.

Rule T1: docs/protocol/topology.md.  Layout: docs/formats/topology.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import FIRST_EPOCH, ClusterId, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring.access.access_entries import OPEN_TO_ALL, Access
from ringmill.cluster.ring.access.used_tokens import UsedToken, check_used
from ringmill.cluster.ring.document import (
    FORMAT_VERSION,
    Document,
    pack_document,
    unpack_document,
    version_of,
)
from ringmill.cluster.ring.hashing import (
    MAX_PARTITIONS,
    MIN_PARTITIONS,
    bits_below,
    partition_start,
    position,
)
from ringmill.cluster.ring.placement import place
from ringmill.cluster.ring.tokens import Circle, circle_of
from ringmill.cluster.ring.topology_entries import (
    MAX_EPOCH,
    MAX_ORDINAL,
    MAX_REPLICAS,
    NORMAL,
    KeyspaceEntry,
    Member,
    Owner,
    Row,
    check_between,
    check_name,
)

__all__ = [
    "FORMAT_VERSION",
    "MAX_FORMERS",
    "MAX_KEYSPACES",
    "MAX_MEMBERS",
    "MAX_VOTERS",
    "KeyspaceEntry",
    "Member",
    "Owner",
    "Row",
    "Topology",
    "choose_voters",
    "cluster_id",
    "first_topology",
]

MAX_MEMBERS = 256
MAX_KEYSPACES = 1024
MAX_VOTERS = 5
MAX_FORMERS = 16
_CLUSTER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Topology:
    """One committed document.  Members keep the order in which the cluster first saw them."""

    epoch: Epoch
    cluster: ClusterId
    name: str
    partitions: int
    n: int
    keyspaces: tuple[KeyspaceEntry, ...]
    members: tuple[Member, ...]
    rows: tuple[Row, ...]
    voters: tuple[Owner, ...]
    formers: tuple[ClusterId, ...] = ()  # the clusters that this one was made of, newest first (rule T9)
    is_paused: bool = False  # no further move of the plan is begun
    access: Access = OPEN_TO_ALL  # who may do what (rule F8)
    used_tokens: tuple[UsedToken, ...] = ()  # join tokens that add nobody any more (rule T11)
    _by_name: dict[str, KeyspaceEntry] = field(init=False, repr=False, compare=False)
    _by_id: dict[KeyspaceId, KeyspaceEntry] = field(init=False, repr=False, compare=False)
    _bits_below: int = field(init=False, repr=False, compare=False)  # of a position
    _encoded: bytes = field(init=False, default=b"", repr=False, compare=False)  # b"": not asked for yet
    _moving: int = field(init=False, default=-1, repr=False, compare=False)  # -1: not counted yet

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {keyspace.name: keyspace for keyspace in self.keyspaces})
        object.__setattr__(self, "_by_id", {keyspace.id: keyspace for keyspace in self.keyspaces})
        object.__setattr__(self, "_bits_below", bits_below(self.partitions))

    def row(self, partition: PartitionId) -> Row:
        """Raises InvalidArgument when there is no such partition."""
        if not 0 <= partition < self.partitions:
            raise InvalidArgument(f"partition {partition} of {self.partitions} does not exist")
        return self.rows[partition]

    def owners(self, partition: PartitionId) -> tuple[NodeId, ...]:
        """Those whose copies are whole; not one that is joining them (Row.nodes has it, too)."""
        return self.row(partition).whole

    def fallbacks(self, partition: PartitionId) -> tuple[NodeId, ...]:
        """The members that do not own the partition, in the order the ring meets them after its owners."""
        owners = self.row(partition).nodes
        walk = self._circle.walk(partition_start(partition, self.partitions))
        return tuple(node for node in walk if node not in owners)

    def partition_of(self, keyspace: KeyspaceId, key: bytes) -> PartitionId:
        return PartitionId(position(keyspace, key) >> self._bits_below)

    def keyspace_named(self, name: str) -> KeyspaceEntry:
        """Raises InvalidArgument that lists what exists."""
        if (keyspace := self._by_name.get(name)) is not None:
            return keyspace
        names = ", ".join(keyspace.name for keyspace in self.keyspaces)
        raise InvalidArgument(f"there is no keyspace {name[:80]!r}", hint=f"there are: {names[:400]}")

    def has_keyspace(self, name: str) -> bool:
        return name in self._by_name

    def has_dropped(self, id: KeyspaceId) -> bool:
        """Whether a keyspace of this id may have been there before, and never will be again.  An id that no
        document gives was never there: `keyspace` refuses it."""
        given = FIRST_EPOCH <= id.epoch <= self.epoch and 0 <= id.ordinal <= MAX_ORDINAL
        return given and id not in self._by_id

    def keyspace(self, id: KeyspaceId) -> KeyspaceEntry:
        """Raises InvalidArgument for a keyspace this epoch does not know (dropped, or newer)."""
        if (keyspace := self._by_id.get(id)) is not None:
            return keyspace
        raise InvalidArgument(f"keyspace {id.epoch}.{id.ordinal} is not in topology epoch {self.epoch}")

    def member(self, node: NodeId) -> Member:
        """Raises InvalidArgument that lists the members."""
        for member in self.members:
            if member.id == node:
                return member
        names = ", ".join(member.id for member in self.members)
        why = f"{node[:80]!r} is not a member of cluster {self.name}"
        raise InvalidArgument(why, hint=f"members: {names}")

    def has_member(self, node: NodeId) -> bool:
        return any(member.id == node for member in self.members)

    def has_seat(self, seat: Owner) -> bool:
        """Whether a member of this name has this disk."""
        return any(member.seat == seat for member in self.members)

    def has_used(self, token: bytes) -> bool:
        """Whether the join token of this id has added a node, as far as that is still remembered."""
        return any(each.id == token for each in self.used_tokens)

    def addresses(self) -> dict[NodeId, str]:
        """Where each member listens, in member order."""
        return {member.id: member.address for member in self.members}

    @property
    def standing(self) -> tuple[NodeId, ...]:
        """The members whose disks were not given up; the others may go on in the former cluster (rule T9)."""
        return tuple(member.id for member in self.members if not member.is_given_up)

    @property
    def voter_nodes(self) -> tuple[NodeId, ...]:
        """Those who decide on the next epoch (rule T2)."""
        return tuple(voter.node for voter in self.voters)

    def owned_by(self, node: NodeId) -> int:
        """How many partitions a node owns."""
        return sum(node in row.whole for row in self.rows)

    @property
    def is_moving(self) -> bool:
        """Whether a plan is under way."""
        return self.moving > 0

    @property
    def moving(self) -> int:
        """How many partitions move, or wait for that."""
        if self._moving < 0:
            moving = sum([row.joiner is not None or row.wanted != () for row in self.rows])
            object.__setattr__(self, "_moving", moving)
        return self._moving

    @property
    def is_short(self) -> bool:
        """Whether there are fewer members than replicas wanted: then all own all, and levels count from
        the members."""
        return len(self.members) < self.n

    @property
    def _circle(self) -> Circle:
        return circle_of(self.members)

    def encode(self) -> bytes:
        """The one encoding of this document."""
        if not self._encoded:
            object.__setattr__(self, "_encoded", pack_document(self._document()))
        return self._encoded

    @property
    def format_version(self) -> int:
        """The version of its encoding."""
        return version_of(self._document())

    def _document(self) -> Document:
        return Document(
            self.epoch, self.cluster, self.name, self.partitions, self.n,
            self.keyspaces, self.members, self.rows, self.voters, self.formers,
            self.is_paused, self.access, self.used_tokens,
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Topology:
        """Raises InvalidArgument for anything but a valid canonical document, ProtocolMismatch for a later
        format version."""
        return _decoded(data)

    def check(self) -> None:
        """Raise InvalidArgument naming the first rule this document breaks."""
        if not _CLUSTER.fullmatch(self.cluster):
            raise InvalidArgument(f"cluster id {self.cluster[:80]!r} is not 32 hexadecimal digits")
        check_between("number of former clusters", len(self.formers), 0, MAX_FORMERS)
        for former in self.formers:
            if not _CLUSTER.fullmatch(former):
                raise InvalidArgument(f"former cluster id {former[:80]!r} is not 32 hexadecimal digits")
        self._check_entries()
        self._check_seats()

    def _check_entries(self) -> None:
        check_name("cluster name", self.name)
        check_between("epoch", self.epoch, 1, MAX_EPOCH)
        check_between("partitions", self.partitions, MIN_PARTITIONS, MAX_PARTITIONS)
        if self.partitions.bit_count() != 1:
            raise InvalidArgument(f"partitions is {self.partitions}, need a power of two")
        check_between("n", self.n, 1, MAX_REPLICAS)
        check_between("number of members", len(self.members), 1, MAX_MEMBERS)
        check_between("number of keyspaces", len(self.keyspaces), 1, MAX_KEYSPACES)
        for member in self.members:
            member.check()
        for keyspace in self.keyspaces:
            keyspace.check(epoch=self.epoch, n=self.n)
        _check_unique("member id", [member.id for member in self.members])
        _check_unique("disk id", [member.disk for member in self.members])
        _check_unique("address", [member.address for member in self.members])
        _check_unique("keyspace name", [keyspace.name for keyspace in self.keyspaces])
        _check_unique("keyspace id", [str(keyspace.id) for keyspace in self.keyspaces])
        self.access.check()
        check_used(self.used_tokens)

    def _check_seats(self) -> None:
        replicas = min(self.n, len(self.members))
        known = {member.id for member in self.members}
        checker = _row_checker(replicas, frozenset([member.seat for member in self.members]))
        check_between("number of rows", len(self.rows), self.partitions, self.partitions)
        for row in self.rows:
            if row.checked_by is not checker or row.row_epoch > self.epoch:
                checker.check(row, self.epoch)
        check_between("number of voters", len(self.voters), 1, MAX_VOTERS)
        if len(self.voters) % 2 == 0 or not known.issuperset(voter.node for voter in self.voters):
            raise InvalidArgument(f"{len(self.voters)} voters: need an odd number, all of them members")
        _check_unique("voter", [voter.node for voter in self.voters])


def first_topology(
    name: str,
    members: Sequence[Member],
    *,
    partitions: int = 256,
    n: int = 3,
    r: int = 2,
    w: int = 2,
    keyspaces: Sequence[KeyspaceEntry] = (),
) -> Topology:
    """The document of epoch 1: placement by consistent hashing, keyspaces `default` and `registers` and those
    given, and a cluster id that is the hash of the document with that field empty.

    `r` and `w` are the defaults of keyspace `default`.  Raises InvalidArgument for what a document may not
    hold.
    """
    epoch = Epoch(1)
    draft = Topology(
        epoch, ClusterId(""), name, partitions, n,
        (*_first_keyspaces(n, r, w), *keyspaces), tuple(members), (), choose_voters(members),
    )  # fmt: skip
    draft._check_entries()  # before placing, which trusts its input
    seats = {member.id: member.seat for member in members}
    draft = replace(
        draft,
        rows=tuple(
            Row(tuple(seats[node] for node in nodes), NORMAL, epoch, (epoch,) * len(nodes))
            for nodes in place(members, partitions, n)
        ),
    )
    return replace(draft, cluster=cluster_id(draft))


def _first_keyspaces(n: int, r: int, w: int) -> tuple[KeyspaceEntry, ...]:
    """Objects and registers.  A read or change of a register always asks a majority (rule R1)."""
    majority = n // 2 + 1
    return (
        KeyspaceEntry(KeyspaceId(1, 0), "default", r=r, w=w),
        KeyspaceEntry(KeyspaceId(1, 1), "registers", kind="registers", r=majority, w=majority),
    )


def cluster_id(first: Topology) -> ClusterId:
    """The hash of the document with which a cluster begins, with that field empty."""
    unnamed = replace(first, cluster=ClusterId(""))
    return ClusterId(blake2b(unnamed.encode(), digest_size=16).hexdigest())


def choose_voters(members: Sequence[Member]) -> tuple[Owner, ...]:
    """The largest odd number up to 5 of the members, taken zone by zone in turn, in member order."""
    by_zone: dict[str, list[Owner]] = {}
    for member in members:
        by_zone.setdefault(member.zone, []).append(member.seat)
    deepest = max((len(seats) for seats in by_zone.values()), default=0)
    in_turn = [seats[i] for i in range(deepest) for seats in by_zone.values() if i < len(seats)]
    return tuple(in_turn[: min(MAX_VOTERS, (len(in_turn) - 1) | 1)])


@dataclass(frozen=True, slots=True)
class _RowChecker:
    """Checks rows of documents with these members.  A row that it found sound it need not check again."""

    replicas: int
    seats: frozenset[Owner]  # of the members

    def check(self, row: Row, epoch: Epoch) -> None:
        row.check(epoch=epoch, replicas=self.replicas)
        if not self.seats.issuperset(row.named):
            named = dict.fromkeys((*row.nodes, *(seat.node for seat in row.wanted)))
            raise InvalidArgument(f"a row names {', '.join(named)}: not all are members, with these disks")
        row.note_checked(self)


_row_checker = lru_cache(maxsize=8)(_RowChecker)  # one for each set of members


@lru_cache(maxsize=8)
def _decoded(data: bytes) -> Topology:
    """A node is given the same document several times: to vote on, by those that have it, to adopt."""
    topology = Topology(*unpack_document(data))
    topology.check()
    if topology.epoch == 1 and topology.cluster != cluster_id(topology):
        raise InvalidArgument(f"cluster id {topology.cluster} is not the hash of this first document")
    if topology.encode() != data:
        raise InvalidArgument("the topology document is not in its canonical form")
    return topology


def _check_unique(what: str, values: Sequence[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InvalidArgument(f"{what} {', '.join(twice)} is there twice")
