"""What owners tell each other to prove a watermark (rule P2): note it, keep it, and what came of it.

Each message is about many partitions, so that what is kept is stored once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.quorum.watermark import Fate
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.node.replica.packing import check_fields, pack, unpack

__all__ = [
    "FATE", "KEEP", "NOTE", "SETTLE", "VOUCH", "AskFate", "AskKeep", "AskNote", "Fates", "KeepAnswer",
    "NoteAnswer", "Settle",
]  # fmt: skip

NOTE: Final = "purge.note"
KEEP: Final = "purge.keep"
SETTLE: Final = "purge.settle"
FATE: Final = "purge.fate"
VOUCH: Final = "purge.vouch"  # AskNote, to a member that is no owner; KeepAnswer


@dataclass(frozen=True, slots=True)
class AskNote:
    """Asks an owner to watch what it accepts of these partitions (with their row epochs) from now on."""

    epoch: Epoch
    attempt: str
    watermark: HybridTime
    partitions: tuple[tuple[PartitionId, Epoch], ...]

    def encode(self) -> bytes:
        return pack([self.epoch, self.attempt, self.watermark, [list(each) for each in self.partitions]])

    @classmethod
    def decode(cls, body: bytes) -> AskNote:
        epoch, attempt, watermark, rows = unpack(body, (int, str, int, list))
        fields = [check_fields(row, (int, int)) for row in rows]
        pairs = tuple((PartitionId(number), Epoch(made)) for number, made in fields)
        return cls(Epoch(epoch), attempt, HybridTime(watermark), pairs)


@dataclass(frozen=True, slots=True)
class NoteAnswer:
    """For each partition the token of the note, or "" and why there is none."""

    each: tuple[tuple[str, str], ...]

    def encode(self) -> bytes:
        return pack([list(one) for one in self.each])

    @classmethod
    def decode(cls, body: bytes, partitions: int) -> NoteAnswer:
        rows = unpack(body, (list,) * partitions)
        fields = [check_fields(row, (str, str)) for row in rows]
        return cls(tuple((token, why) for token, why in fields))


@dataclass(frozen=True, slots=True)
class AskKeep:
    """Asks an owner to keep the attempt durably, by partition and the token of its note."""

    epoch: Epoch
    attempt: str
    partitions: tuple[tuple[PartitionId, str], ...]

    def encode(self) -> bytes:
        return pack([self.epoch, self.attempt, [list(each) for each in self.partitions]])

    @classmethod
    def decode(cls, body: bytes) -> AskKeep:
        epoch, attempt, rows = unpack(body, (int, str, list))
        fields = [check_fields(row, (int, str)) for row in rows]
        return cls(Epoch(epoch), attempt, tuple((PartitionId(number), token) for number, token in fields))


@dataclass(frozen=True, slots=True)
class KeepAnswer:
    """For each partition "" when it is kept on the disk, else why it never will be; of a member that is no
    owner, "" when it vouches for it, else why not."""

    refusals: tuple[str, ...]

    def encode(self) -> bytes:
        return pack(list(self.refusals))

    @classmethod
    def decode(cls, body: bytes, partitions: int) -> KeepAnswer:
        return cls(tuple(unpack(body, (str,) * partitions)))


@dataclass(frozen=True, slots=True)
class Settle:
    """Tells an owner what came of an attempt: PROVEN or DEAD."""

    attempt: str
    fate: Fate
    partitions: tuple[PartitionId, ...]

    def encode(self) -> bytes:
        return pack([self.attempt, int(self.fate), list(self.partitions)])

    @classmethod
    def decode(cls, body: bytes) -> Settle:
        attempt, fate, numbers = unpack(body, (str, int, list))
        check_fields(numbers, (int,) * len(numbers))
        return cls(attempt, _fate(fate), tuple(PartitionId(number) for number in numbers))


@dataclass(frozen=True, slots=True)
class AskFate:
    """Asks an owner what it knows of attempts that the asker has kept."""

    attempts: tuple[tuple[PartitionId, str], ...]

    def encode(self) -> bytes:
        return pack([[list(each) for each in self.attempts]])

    @classmethod
    def decode(cls, body: bytes) -> AskFate:
        (rows,) = unpack(body, (list,))
        fields = [check_fields(row, (int, str)) for row in rows]
        return cls(tuple((PartitionId(number), attempt) for number, attempt in fields))


@dataclass(frozen=True, slots=True)
class Fates:
    """One for each attempt that was asked for."""

    each: tuple[Fate, ...]

    def encode(self) -> bytes:
        return pack([int(fate) for fate in self.each])

    @classmethod
    def decode(cls, body: bytes, attempts: int) -> Fates:
        return cls(tuple(_fate(number) for number in unpack(body, (int,) * attempts)))


def _fate(number: int) -> Fate:
    """Raises ProtocolMismatch."""
    try:
        return Fate(number)
    except ValueError as error:
        raise ProtocolMismatch(f"{number} is no fate of an attempt") from error
