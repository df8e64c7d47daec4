"""The entries of a topology document: keyspaces, members, and who owns each partition.

Values only, each with the limits it must keep.  What a whole document must satisfy stands in topology.py.
See: docs/formats/topology.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId

__all__ = [
    "GIVEN_UP",
    "JOINT_1",
    "JOINT_2",
    "KINDS",
    "MAX_ADDRESS_BYTES",
    "MAX_EPOCH",
    "MAX_ORDINAL",
    "MAX_REPLICAS",
    "MAX_WEIGHT",
    "MEMBER_STATES",
    "DURABILITIES",
    "NORMAL",
    "PHASES",
    "POLICIES",
    "QUORUMS",
    "NO_COPY",
    "KeyspaceEntry",
    "Member",
    "Owner",
    "Row",
    "check_between",
    "check_name",
]

MAX_REPLICAS: Final = 7
MAX_WEIGHT: Final = 64
MAX_ADDRESS_BYTES: Final = 255
MAX_EPOCH: Final = 2**63 - 1
MAX_ORDINAL: Final = 2**32 - 1
NO_COPY: Final = Epoch(0)  # no copy has it: epochs begin with 1
KINDS: Final = ("objects", "registers")
POLICIES: Final = ("siblings", "lww", "counter", "set", "map")
DURABILITIES: Final = ("memory", "buffered", "sync")
QUORUMS: Final = ("strict", "sloppy")
_SLOPPY_POLICIES: Final = ("siblings", "lww")
GIVEN_UP: Final = "dead" * 4  # what an id begins with that no disk has: the ids of disks are random
MEMBER_STATES: Final = ("joining", "up", "leaving", "gone")
NORMAL: Final = "normal"
JOINT_1: Final = "joint-1"  # the joiner takes writes and is filled
JOINT_2: Final = "joint-2"  # the joiner is filled: reads ask both sets of owners
PHASES: Final = (NORMAL, JOINT_1, JOINT_2)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DISK: Final = re.compile(r"[0-9a-f]{32}")
_ADDRESS: Final = re.compile(r"\S+:[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class KeyspaceEntry:
    """A named set of keys.

    `r`, `w`, `ttl_ms` and `durability` are the defaults of its requests; `ttl_ms` 0 means no expiry.  With
    `quorum` sloppy, other members stand in for owners that cannot be reached (rule W7).
    """

    id: KeyspaceId
    name: str
    kind: str = "objects"
    policy: str = "siblings"
    r: int = 2
    w: int = 2
    ttl_ms: int = 0
    durability: str = "sync"
    quorum: str = "strict"
    is_sloppy: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_sloppy", self.quorum == "sloppy")

    def check(self, *, epoch: int, n: int) -> None:
        """Raise InvalidArgument unless this may stand in a document of `epoch` with `n` replicas."""
        check_name("keyspace", self.name)
        _check_one_of("keyspace kind", self.kind, KINDS)
        _check_one_of("keyspace policy", self.policy, POLICIES)
        _check_one_of("keyspace durability", self.durability, DURABILITIES)
        _check_one_of("keyspace quorum", self.quorum, QUORUMS)
        check_between("keyspace epoch", self.id.epoch, 1, epoch)
        check_between("keyspace ordinal", self.id.ordinal, 0, MAX_ORDINAL)
        check_between("keyspace r", self.r, 1, n)
        check_between("keyspace w", self.w, 1, n)
        check_between("keyspace ttl_ms", self.ttl_ms, 0, MAX_EPOCH)
        if self.policy == "counter" and self.ttl_ms:
            raise InvalidArgument("a keyspace of policy counter has no ttl: counts do not expire")
        if self.is_sloppy and (self.kind != "objects" or self.policy not in _SLOPPY_POLICIES):
            raise InvalidArgument(
                f"a keyspace of {self.kind} with policy {self.policy} has strict quorums: what it promises "
                "needs r + w > n owners",
                hint="sloppy quorums are for objects with policy siblings or lww",
            )


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster.  `weight` is its share beside the others'; `zone` is what may fail at once."""

    id: NodeId
    disk: DiskId
    address: str
    zone: str = "default"
    weight: int = 1
    state: str = "up"

    @property
    def seat(self) -> Owner:
        return Owner(self.id, self.disk)

    @property
    def host(self) -> str:
        """The host part of the address."""
        return self.address.rpartition(":")[0]

    @property
    def is_given_up(self) -> bool:
        """Its disk is gone, by the operator's word, and no other has taken its place yet (rule T9)."""
        return self.disk.startswith(GIVEN_UP)

    def check(self) -> None:
        """Raise InvalidArgument unless every field is within its limits."""
        check_name("node id", self.id)
        check_name("zone", self.zone)
        _check_disk(self.disk)
        if not _ADDRESS.fullmatch(self.address) or len(self.address.encode()) > MAX_ADDRESS_BYTES:
            raise InvalidArgument(
                f"address of {self.id} is {self.address[:80]!r}: need host:port of at most "
                f"{MAX_ADDRESS_BYTES} bytes"
            )
        check_between(f"weight of {self.id}", self.weight, 1, MAX_WEIGHT)
        _check_one_of(f"state of {self.id}", self.state, MEMBER_STATES)


class Owner(NamedTuple):
    """A seat: a node together with the disk that holds the data, as a node on another disk owns nothing."""

    node: NodeId
    disk: DiskId

    def check(self) -> None:
        check_name("node id", self.node)
        _check_disk(self.disk)


@dataclass(frozen=True, slots=True)
class Row:
    """One partition: its owners in ring order, and since when.

    `row_epoch` is the epoch at which owners or phase last changed; requests made under an older one are
    refused.  `copy_epochs` has, for each owner and then for the joiner, the epoch of the move that brought
    its copy; the keys that it stores carry it.

    While one seat of a partition moves the row is joint: `joiner` is the seat that is being filled, and
    `leaver` the owner whose place it takes, None where the row gets one owner more.  `wanted` are the owners
    that a plan gives the partition, () when it stays as it is.  Rules M1 and M3: docs/protocol/moves.md.
    """

    owners: tuple[Owner, ...]
    phase: str
    row_epoch: Epoch
    copy_epochs: tuple[Epoch, ...]
    joiner: Owner | None = None
    leaver: Owner | None = None
    wanted: tuple[Owner, ...] = ()
    nodes: tuple[NodeId, ...] = field(init=False, repr=False, compare=False)
    """The nodes of the owners and of the joiner: all who take writes."""
    whole: tuple[NodeId, ...] = field(init=False, repr=False, compare=False)
    """The nodes of the owners: those who coordinate, and who are sources."""
    readers: tuple[NodeId, ...] = field(init=False, repr=False, compare=False)
    """Whom reads ask: the joiner only once it is filled."""
    named: tuple[Owner, ...] = field(init=False, repr=False, compare=False)
    """The owners, the joiner, and those that are wanted."""
    is_plain: bool = field(init=False, repr=False, compare=False)
    """Nothing moves, and all copies are of one epoch: versions of the document before 5 can say it."""
    # Consecutive documents share nearly all rows, so a row remembers who has checked and who has packed it.
    checked_by: object = field(init=False, default=None, repr=False, compare=False)
    """The checker that has found it sound (cluster/ring/topology.py)."""
    packed_by: tuple[object, bytes] = field(init=False, default=(None, b""), repr=False, compare=False)
    """The table that has packed it, and the bytes (cluster/ring/document.py)."""
    _copies: dict[NodeId, Epoch] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole = tuple(owner.node for owner in self.owners)
        nodes = whole if self.joiner is None else (*whole, self.joiner.node)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "readers", whole if self.phase == JOINT_1 else nodes)
        object.__setattr__(self, "named", (*self.seats, *self.wanted))
        is_plain = self.joiner is None and not self.wanted and len(set(self.copy_epochs)) <= 1
        object.__setattr__(self, "is_plain", is_plain)
        object.__setattr__(self, "_copies", dict(zip(nodes, self.copy_epochs, strict=False)))

    def note_checked(self, checker: object) -> None:
        """Remember that this checker has found the row sound."""
        object.__setattr__(self, "checked_by", checker)

    def note_packed(self, table: object, packed: bytes) -> None:
        """Remember what this table has packed the row into."""
        object.__setattr__(self, "packed_by", (table, packed))

    @property
    def is_joint(self) -> bool:
        return self.joiner is not None

    @property
    def seats(self) -> tuple[Owner, ...]:
        """The owners and the joiner."""
        return self.owners if self.joiner is None else (*self.owners, self.joiner)

    @property
    def following(self) -> tuple[Owner, ...]:
        """The owners after the present move."""
        if self.joiner is None:
            return self.owners
        return (*(seat for seat in self.owners if seat != self.leaver), self.joiner)

    @property
    def sets(self) -> tuple[tuple[NodeId, ...], ...]:
        """The owners; in a joint the old and the new ones."""
        if self.joiner is None:
            return (self.whole,)
        return self.whole, tuple(seat.node for seat in self.following)

    def copy_epoch_of(self, node: NodeId) -> Epoch:
        """The epoch of a node's copy; NO_COPY when it has none."""
        return self._copies.get(node, NO_COPY)

    @property
    def size(self) -> int:
        """The number of owners that levels are counted from (rule T6)."""
        return len(self.owners)

    @property
    def majority(self) -> int:
        """How many of those who take writes are a majority in each set of owners.

        It counts the owners there are: they may be fewer than the document's `n`, and in a joint one more.
        """
        return self.writers_for(len(self.owners) // 2 + 1)

    def level(self, wanted: int) -> int:
        """How many owners a default of `wanted` asks of this row: never more than there are."""
        size = len(self.owners)
        return wanted if wanted < size else size

    def writers_for(self, level: int) -> int:
        """How many of `nodes` must ack so that `level` do in each set of owners (rule M1).

        The sets differ by one seat, so one more is enough, whoever that is.
        """
        return level if self.joiner is None else level + 1

    def readers_for(self, level: int) -> int:
        """How many of `readers` must answer so that `level` do in each set that is read (rule M1)."""
        return level + 1 if self.phase == JOINT_2 else level

    def check(self, *, epoch: int, replicas: int) -> None:
        """Raise InvalidArgument unless this may stand in a document of `epoch`.

        A row may have fewer owners than `replicas` while more members are being given their first copies.
        """
        _check_one_of("phase", self.phase, PHASES)
        check_between("row epoch", self.row_epoch, 1, epoch)
        if len(self.copy_epochs) != len(self.seats):
            raise InvalidArgument(
                f"a row has {len(self.seats)} seats and {len(self.copy_epochs)} copy epochs"
            )
        for copy_epoch in self.copy_epochs:
            check_between("copy epoch", copy_epoch, 1, self.row_epoch)
        if not 1 <= len(self.owners) <= replicas:
            raise InvalidArgument(f"a row has {len(self.owners)} owners, need 1 to {replicas}")
        if self.wanted and len(self.wanted) != replicas:
            raise InvalidArgument(f"a plan gives a row {len(self.wanted)} owners, need {replicas}")
        if self.is_joint is (self.phase == NORMAL) or (self.leaver is not None and not self.is_joint):
            raise InvalidArgument(f"a row in phase {self.phase} does not fit its joiner and its leaver")
        if self.leaver is not None and self.leaver not in self.owners:
            raise InvalidArgument(f"{self.leaver.node} is to leave a row that it does not own")
        if len(self.following) > replicas:
            raise InvalidArgument(f"a row would have {len(self.following)} owners, need {replicas} at most")
        for nodes in (self.nodes, tuple(seat.node for seat in self.wanted)):
            if len(set(nodes)) != len(nodes):
                raise InvalidArgument(f"a row names a node twice: {', '.join(nodes)}")


def check_name(what: str, name: str) -> None:
    """Raise InvalidArgument unless `name` is 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what} {name[:80]!r} is not a valid name: "
            "need 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit"
        )


def _check_disk(disk: str) -> None:
    if not _DISK.fullmatch(disk):
        raise InvalidArgument(f"disk id {disk[:80]!r} is not 32 hexadecimal digits")


def check_between(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidArgument(f"{what} is {value}, need {low} to {high}")


def _check_one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidArgument(f"{what} is {value[:80]!r}, need one of {', '.join(allowed)}")
