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
    "KINDS",
    "MAX_ADDRESS_BYTES",
    "MAX_EPOCH",
    "MAX_REPLICAS",
    "MAX_WEIGHT",
    "MEMBER_STATES",
    "DURABILITIES",
    "PHASES",
    "POLICIES",
    "QUORUMS",
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
# What a document may say is more than this release obeys, so that a later release needs no new format
# (docs/protocol/README.md, "Planned"): no code reads a member's state, which may be "joining" or "leaving".
KINDS: Final = ("objects", "registers")
POLICIES: Final = ("siblings", "lww", "counter", "set", "map")
DURABILITIES: Final = ("memory", "buffered", "sync")
QUORUMS: Final = ("strict", "sloppy")
_SLOPPY_POLICIES: Final = ("siblings", "lww")
GIVEN_UP: Final = "dead" * 4  # what an id begins with that no disk has: the ids of disks are random
MEMBER_STATES: Final = ("joining", "up", "leaving")
PHASES: Final = ("normal",)

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

    @property
    def is_sloppy(self) -> bool:
        return self.quorum == "sloppy"

    def check(self, *, epoch: int, n: int) -> None:
        """Raise InvalidArgument unless this may stand in a document of `epoch` with `n` replicas."""
        check_name("keyspace", self.name)
        _check_one_of("keyspace kind", self.kind, KINDS)
        _check_one_of("keyspace policy", self.policy, POLICIES)
        _check_one_of("keyspace durability", self.durability, DURABILITIES)
        _check_one_of("keyspace quorum", self.quorum, QUORUMS)
        check_between("keyspace epoch", self.id.epoch, 1, epoch)
        check_between("keyspace ordinal", self.id.ordinal, 0, 2**32 - 1)
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
    refused.  `copy_epoch` is the epoch of the move that brought the data; stored keys carry it.
    """

    owners: tuple[Owner, ...]
    phase: str
    row_epoch: Epoch
    copy_epoch: Epoch
    nodes: tuple[NodeId, ...] = field(init=False, repr=False, compare=False)  # of the owners

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(owner.node for owner in self.owners))

    @property
    def majority(self) -> int:
        """Of the owners there are, which may be fewer than the document's `n`."""
        return len(self.owners) // 2 + 1

    def level(self, wanted: int) -> int:
        """How many owners a default of `wanted` asks of this row: never more than there are."""
        return min(wanted, len(self.owners))

    def check(self, *, epoch: int, replicas: int) -> None:
        """Raise InvalidArgument unless this may stand in a document of `epoch`."""
        _check_one_of("phase", self.phase, PHASES)
        check_between("row epoch", self.row_epoch, 1, epoch)
        check_between("copy epoch", self.copy_epoch, 1, self.row_epoch)
        if len(self.owners) != replicas:
            raise InvalidArgument(f"a row has {len(self.owners)} owners, need {replicas}")
        if len(set(self.nodes)) != len(self.owners):
            raise InvalidArgument(f"a row names a node twice: {', '.join(self.nodes)}")


def check_name(what: str, name: str) -> None:
    """Raise InvalidArgument unless `name` is 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{what} {name[:80]!r} is no name: need 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit"
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
