"""The messages by which all owners of a partition remove registers that hold no value.

Frozen values, encoded once as msgpack arrays.  Keys are stored keys without the prefix of their copy.
Rule R5: docs/protocol/registers.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.consensus.remains import Remains
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.node.replica.packing import check_fields, pack, unpack
from ringmill.node.replica.registers.register_messages import remains_from

__all__ = ["CLOSE", "REMOVE", "AskClose", "AskRemove", "CloseAnswer", "KeyState"]

CLOSE: Final = "register.close"
REMOVE: Final = "register.remove"


class AskClose(NamedTuple):
    """Asks an owner to agree to no ballot that counts to `floor` or less, to keep `remains`, and then to
    tell what it holds of some registers; under the row of `row_epoch` only."""

    epoch: Epoch
    partition: PartitionId
    row_epoch: Epoch
    floor: int
    remains: Remains
    keys: tuple[bytes, ...]

    def encode(self) -> bytes:
        return pack(
            [self.epoch, self.partition, self.row_epoch, self.floor, list(self.remains), list(self.keys)]
        )

    @classmethod
    def decode(cls, body: bytes) -> AskClose:
        epoch, partition, row_epoch, floor, remains, keys = unpack(body, (int, int, int, int, list, list))
        decoded = remains_from(remains)
        return cls(Epoch(epoch), PartitionId(partition), Epoch(row_epoch), floor, decoded, _keys(keys))


class KeyState(NamedTuple):
    """What an owner has on its disk of a register: whether it holds a value, and how far it has promised."""

    holds_value: bool
    promised: int


class CloseAnswer(NamedTuple):
    """One state for each key that was asked about; none from an owner that takes no part, which tells why."""

    why: str
    states: tuple[KeyState, ...] = ()

    def encode(self) -> bytes:
        return pack([self.why, [list(each) for each in self.states]])

    @classmethod
    def decode(cls, body: bytes) -> CloseAnswer:
        why, states = unpack(body, (str, list))
        return cls(why, tuple(KeyState(*check_fields(each, (bool, int))) for each in states))


class AskRemove(NamedTuple):
    """Asks an owner to remove registers of which no owner held a value once all had closed up to `floor`."""

    epoch: Epoch
    partition: PartitionId
    row_epoch: Epoch
    floor: int
    keys: tuple[bytes, ...]

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.row_epoch, self.floor, list(self.keys)])

    @classmethod
    def decode(cls, body: bytes) -> AskRemove:
        epoch, partition, row_epoch, floor, keys = unpack(body, (int, int, int, int, list))
        return cls(Epoch(epoch), PartitionId(partition), Epoch(row_epoch), floor, _keys(keys))


def _keys(fields: list[object]) -> tuple[bytes, ...]:
    return tuple(check_fields(fields, (bytes,) * len(fields)))
