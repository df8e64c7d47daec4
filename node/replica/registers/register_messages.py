"""The messages to the owners of a register: prepare, accept, read, and pages of registers.

Frozen values, encoded once as msgpack arrays.  Every request carries the epoch it was made under and the
keyspace's id, every answer the row epoch it was given under (rule T5).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot, ballot_of
from ringmill.cluster.consensus.remains import NO_REMAINS, Remains
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, KeyspaceId, PartitionId
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.replica.packing import check_fields, pack, unpack

__all__ = [
    "ACCEPT", "PREPARE", "READ_REGISTER", "REGISTER_PAGE", "TELL_PROMISE", "AskRegisters", "RegisterAnswer",
    "RegisterRequest", "RegistersPage", "remains_from",
]  # fmt: skip

PREPARE: Final = "register.prepare"
ACCEPT: Final = "register.accept"
READ_REGISTER: Final = "register.read"
REGISTER_PAGE: Final = "register.page"
TELL_PROMISE: Final = b"\x01"
"""The `value` of a read that wants to know what the owner has promised, too.  An owner of an earlier release
does not look at it, and tells no promise."""
MAX_U64: Final = (1 << 64) - 1


class RegisterRequest(NamedTuple):
    """A prepare or an accept of `ballot`, or a read; `value` is what is to be accepted.  In a read it is
    TELL_PROMISE or nothing."""

    epoch: Epoch
    keyspace: KeyspaceId
    key: bytes
    ballot: Ballot = NO_BALLOT
    value: bytes = b""

    def encode(self) -> bytes:
        return pack([self.epoch, *self.keyspace, self.key, list(self.ballot), self.value])

    @classmethod
    def decode(cls, body: bytes) -> RegisterRequest:
        epoch, made, ordinal, key, ballot, value = unpack(body, (int, int, int, bytes, list, bytes))
        return cls(Epoch(epoch), KeyspaceId(made, ordinal), key, ballot_of(ballot), value)


class RegisterAnswer(NamedTuple):
    """What the owner has accepted, as it stands on its disk.

    `refused_counter` is 0 when the owner did what it was asked; else what it has promised counts this far.
    `remains` are those of its partition, when it holds no value (rule R5).  `promised` is told to a read that
    asks for it.
    """

    row_epoch: Epoch
    refused_counter: int
    accepted: Ballot
    value: bytes
    remains: Remains | None = None
    promised: Ballot | None = None

    def encode(self) -> bytes:
        fields = [self.row_epoch, self.refused_counter, list(self.accepted), self.value]
        if self.promised is not None:
            remains = [] if self.remains is None else [*self.remains]
            return pack([*fields, remains, list(self.promised)])
        return pack([*fields, *_with_remains(self.remains)])

    @classmethod
    def decode(cls, body: bytes) -> RegisterAnswer:
        types = (int, int, list, bytes)
        try:
            row_epoch, refused_counter, accepted, value, *remains = _unpack_either(body, types)
            promised = None
        except ProtocolMismatch:
            row_epoch, refused_counter, accepted, value, *remains, told = unpack(body, (*types, list, list))
            promised = ballot_of(told)
        told_of = _remains_of(remains)
        return cls(Epoch(row_epoch), refused_counter, ballot_of(accepted), value, told_of, promised)


class AskRegisters(NamedTuple):
    """Asks another owner for its registers of a partition from key `start` on, and for its word that it
    agrees to no ballot that counts to `floor` or less from now on (rule R2)."""

    epoch: Epoch
    partition: PartitionId
    floor: int
    start: bytes

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.floor, self.start])

    @classmethod
    def decode(cls, body: bytes) -> AskRegisters:
        epoch, partition, floor, start = unpack(body, (int, int, int, bytes))
        return cls(Epoch(epoch), PartitionId(partition), floor, start)


class RegistersPage(NamedTuple):
    """Registers in key order; `covered_to` is the key where the next page begins, empty when this was all.

    Keys are stored keys without the prefix of their copy.  The owner has agreed to no ballot that counts
    above `ceiling`.  `remains`: of those of the partition that were removed.
    """

    row_epoch: Epoch
    ceiling: int
    items: tuple[tuple[bytes, Ballot, bytes], ...]
    covered_to: bytes
    remains: Remains = NO_REMAINS

    def encode(self) -> bytes:
        rows = [[key, list(accepted), value] for key, accepted, value in self.items]
        return pack([self.row_epoch, self.ceiling, rows, self.covered_to, *_with_remains(self.remains)])

    @classmethod
    def decode(cls, body: bytes) -> RegistersPage:
        row_epoch, ceiling, rows, covered_to, *remains = _unpack_either(body, (int, int, list, bytes))
        items = [check_fields(row, (bytes, list, bytes)) for row in rows]
        return cls(
            Epoch(row_epoch),
            ceiling,
            tuple((key, ballot_of(ballot), value) for key, ballot, value in items),
            covered_to,
            _remains_of(remains) or NO_REMAINS,
        )


def remains_from(fields: list[object]) -> Remains:
    """The remains in two decoded fields.  Raises ProtocolMismatch."""
    version, time = check_fields(fields, (int, int))
    if max(version, time) > MAX_U64:
        raise ProtocolMismatch("a version or a time has 64 bits at most")
    return Remains(version, HybridTime(time))


def _with_remains(remains: Remains | None) -> list[list[int]]:
    """The last field, left out while nothing was removed: an earlier release knows none."""
    if remains == NO_REMAINS:
        return []
    return [[] if remains is None else [*remains]]


def _remains_of(fields: list[list[object]]) -> Remains | None:
    if not fields:
        return NO_REMAINS
    return remains_from(fields[0]) if fields[0] else None


def _unpack_either(body: bytes, types: tuple[type, ...]) -> list[Any]:
    """The fields of a message that may have the last one."""
    try:
        return unpack(body, types)
    except ProtocolMismatch:
        return unpack(body, (*types, list))
