"""The starts that members remember of each other, and the rules by which a start may serve.  Pure.

A start announces itself to the other members: its number and boot id, the starts of the same folder before
it, and what its store's logs held when it was opened.  A member remembers of each disk the newest start that
it was told of, and how far that start's log was on the disk.  A folder that was rolled back to an older copy
lacks that start among those before it, or lacks the end of that log, and is refused: what it has forgotten
was acknowledged to somebody.  So is a start that goes on from a snapshot of its machine, memory and disk: it
is the same one, with a log that is shorter than it was.

Rules I3 and I5: docs/protocol/identity.md.  Layout: docs/formats/start.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from ringmill.cluster.errors import CorruptData, InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import DiskId, NodeId, Start

__all__ = [
    "EARLIER_STARTS",
    "NO_MARK",
    "Announcement",
    "FormerDisks",
    "FoundLogs",
    "LogMark",
    "Remembered",
    "StartAnswer",
    "StartVerdict",
    "decode_remembered",
    "encode_remembered",
    "judge",
    "noted",
    "others_needed",
]

EARLIER_STARTS: Final = 32
_VERSION: Final = 1
_MAX_LOGS: Final = 256
_HASH_BYTES: Final = 8


class LogMark(NamedTuple):
    """How far a log is on the disk: the first `size_bytes` of log file `log`."""

    log: int
    size_bytes: int


NO_MARK: Final = LogMark(0, 0)


@dataclass(frozen=True, slots=True)
class FoundLogs:
    """What a store held before it was opened: its logs, and the highest number of any of its files.

    The newest logs are announced, and `highest` is above one that is not: it counts as replaced.
    """

    highest: int = 0
    logs: tuple[LogMark, ...] = ()

    def holds(self, mark: LogMark) -> bool:
        """Whether all that the mark covers is there still, in the log or in what has replaced it."""
        size_bytes = dict(self.logs).get(mark.log)
        if size_bytes is None:
            return self.highest > mark.log or mark == NO_MARK
        return size_bytes >= mark.size_bytes


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a start announces about itself.  `mark` grows while it runs; the rest is fixed."""

    node: NodeId
    disk: DiskId
    start: Start
    earlier: tuple[Start, ...]  # newest first
    found: FoundLogs
    mark: LogMark = NO_MARK

    def encode(self) -> bytes:
        found = self.found
        fields = [
            _VERSION,
            self.node,
            self.disk,
            self.start,
            self.earlier,
            found.highest,
            found.logs[-_MAX_LOGS:],
        ]
        packed: bytes = msgpack.packb([*fields, self.mark])
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Announcement:
        """Raises InvalidArgument for anything else, ProtocolMismatch for a later version."""
        fields = _fields(data, "an announced start", 8)
        try:
            node, disk, start, earlier, highest, logs, mark = fields
            if len(earlier) > EARLIER_STARTS or len(logs) > _MAX_LOGS:
                raise ValueError("too long a list")
            found = FoundLogs(_number(highest), tuple(_mark(each) for each in logs))
            earlier_starts = tuple(_start(each) for each in earlier)
            return cls(
                NodeId(_name(node)), DiskId(_name(disk)), _start(start), earlier_starts, found, _mark(mark)
            )
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"an announced start does not decode: {error}") from error


@dataclass(frozen=True, slots=True)
class Remembered:
    """The newest start of one disk that this member was told of."""

    node: NodeId
    start: Start
    mark: LogMark = NO_MARK


class StartVerdict(IntEnum):
    """What a member says of a start."""

    NOTED = 0  # it is remembered, on the disk
    OLD_COPY = 1  # the folder lacks what is remembered
    RUNS_ALREADY = 2  # the start that is remembered is alive


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """`known` is the start that stands against it."""

    verdict: StartVerdict
    known: Start = Start(0, "")  # noqa: RUF009 - a value

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb([_VERSION, self.verdict, self.known])
        return packed

    @classmethod
    def decode(cls, data: bytes) -> StartAnswer:
        """Raises InvalidArgument, ProtocolMismatch."""
        verdict, known = _fields(data, "a reply to a start", 3)
        try:
            return cls(StartVerdict(_number(verdict)), _start(known))
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"a reply to a start does not decode: {error}") from error


def judge(known: Remembered | None, announced: Announcement) -> StartVerdict:
    """Whether a start goes on from what is remembered of its disk."""
    if known is None:
        return StartVerdict.NOTED
    if known.start == announced.start:  # its log only grows, so a shorter one was put back with the memory
        return StartVerdict.NOTED if announced.mark >= known.mark else StartVerdict.OLD_COPY
    is_later = known.start in announced.earlier or _is_beyond_memory(known.start, announced)
    return StartVerdict.NOTED if is_later and announced.found.holds(known.mark) else StartVerdict.OLD_COPY


def noted(known: Remembered | None, announced: Announcement) -> Remembered:
    """What is remembered after a start was noted; a mark never goes back within a start."""
    if known is not None and known.start == announced.start:
        return Remembered(announced.node, announced.start, max(known.mark, announced.mark))
    return Remembered(announced.node, announced.start, announced.mark)


def others_needed(members: int) -> int:
    """How many other members have to note a start before it may serve."""
    return members // 2


def encode_remembered(starts: Mapping[DiskId, Remembered]) -> bytes:
    rows = [[disk, each.node, each.start, each.mark] for disk, each in sorted(starts.items())]
    packed: bytes = msgpack.packb([_VERSION, rows])
    return packed


def decode_remembered(data: bytes | None) -> dict[DiskId, Remembered]:
    """Raises CorruptData."""
    if data is None:
        return {}
    try:
        (rows,) = _fields(data, "the remembered starts", 2)
        return {
            DiskId(_name(disk)): Remembered(NodeId(_name(node)), _start(start), _mark(mark))
            for disk, node, start, mark in rows
        }
    except (InvalidArgument, ValueError, TypeError) as error:
        raise CorruptData(f"the remembered starts ({len(data)} bytes) do not decode: {error}") from error


class FormerDisks:
    """The disks that were in the cluster and are not any more: 8 bytes of a hash of each are kept."""

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self._hashes = frozenset(hashes)

    def __contains__(self, disk: DiskId) -> bool:
        return _hash(disk) in self._hashes

    def with_these(self, disks: Iterable[DiskId]) -> FormerDisks:
        return FormerDisks(self._hashes.union(map(_hash, disks)))

    def encode(self) -> bytes:
        packed: bytes = msgpack.packb([_VERSION, b"".join(sorted(self._hashes))])
        return packed

    @classmethod
    def decode(cls, data: bytes | None) -> FormerDisks:
        """Raises CorruptData."""
        if data is None:
            return cls()
        try:
            (joined,) = _fields(data, "the former disks", 2)
            if not isinstance(joined, bytes) or len(joined) % _HASH_BYTES:
                raise ValueError("no ids")
            return cls(joined[at : at + _HASH_BYTES] for at in range(0, len(joined), _HASH_BYTES))
        except (InvalidArgument, ValueError, TypeError) as error:
            raise CorruptData(f"the former disks ({len(data)} bytes) do not decode: {error}") from error


def _hash(disk: DiskId) -> bytes:
    return blake2b(disk.encode(), digest_size=_HASH_BYTES).digest()


def _is_beyond_memory(start: Start, announced: Announcement) -> bool:
    """Whether the start is older than the earlier starts that the folder still names."""
    return len(announced.earlier) >= EARLIER_STARTS and start.number < announced.earlier[-1].number


def _fields(data: bytes, what: str, count: int) -> list[Any]:
    """All fields but the version."""
    try:
        fields: Any = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise InvalidArgument(f"{len(data)} bytes are not {what}: {error}") from error
    if not isinstance(fields, list) or not fields:
        raise InvalidArgument(f"{what} is an array")
    if fields[0] != _VERSION:
        raise ProtocolMismatch(f"{what} of version {str(fields[0])[:20]}, this release reads {_VERSION}")
    if len(fields) != count:
        raise InvalidArgument(f"{what} has {count} items, not {len(fields)}")
    return fields[1:]


def _start(value: Any) -> Start:
    number, boot = value
    return Start(_number(number), _name(boot))


def _mark(value: Any) -> LogMark:
    log, size_bytes = value
    return LogMark(_number(log), _number(size_bytes))


def _number(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} where a number belongs")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 64:
        raise ValueError(f"{value!r:.40} where a name belongs")
    return value
