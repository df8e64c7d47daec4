"""Recovers the batches in the logs of a folder.  Pure, except that it reads files through the door.

Damage at or below a durable sequence is corruption: it is reported as a mark over all keys, because the lost
keys are unknown, and reading continues after it.  Damage above that, in the last log only, is the tail of a
power cut and does not count.  Damage that hits no batch (a header, a mark) has no consequence.  Recovery
never fails because of damage.

Rules E4 and E7: docs/protocol/engine.md.  Layout: docs/formats/log.md, "Recovery".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.batch import DROP_PREFIX, PUT, MalformedBatch, parse_changes
from ringmill.node.storage.log.framing import Damage
from ringmill.node.storage.log.log_format import BatchGroup, Header, LogItem, SyncMark, read_log
from ringmill.node.storage.log.readable_parts import Readable, read_parts
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.names import log_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.version.version import CorruptMark

__all__ = ["Loss", "Recovered", "expect_all", "recover_logs", "replay_group"]

_MOST_SEQUENCE: Final = 1 << 55  # a cell has 56 bits for it, so a higher one is damage
LEAP: Final = 1 << 40
"""Nobody has applied this many batches to logs that are in no table yet: a bound where nothing tells one."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The acknowledged batches, first to last (both included), that a damaged log has lost."""

    file: str
    offset: int
    first_sequence: int
    last_sequence: int
    why: str

    def mark(self) -> CorruptMark:
        return CorruptMark(b"", None, self.last_sequence)


@dataclass(slots=True)
class Recovered:
    """The memtable rebuilt from the logs."""

    memtable: Memtable
    last_sequence: int
    newest_snapshot: int = 0
    log_ids: list[int] = field(default_factory=list)  # of the logs that are not empty
    newest_readable: int = 0  # id of the newest log that has a record which can be read
    damaged: list[int] = field(default_factory=list)  # ids of logs with damage, the tail apart
    losses: list[Loss] = field(default_factory=list)
    tail: tuple[int, int] | None = None  # the last log's id and where it ends, if it ends torn
    unread_end: tuple[int, int] | None = None  # the same, if the disk cannot read what follows

    def lose(self, loss: Loss, file_id: int) -> None:
        """Note that log `file_id` lost batches; all later batches have higher sequences."""
        sometimes("a start finds that a log has lost batches")
        self.losses.append(loss)
        self.last_sequence = max(self.last_sequence, loss.last_sequence)
        self.note_damage(file_id)

    def note_damage(self, file_id: int) -> None:
        if file_id not in self.damaged:
            self.damaged.append(file_id)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A group or damage of one log, with where it lies."""

    offset: int
    end: int
    item: BatchGroup | Damage


def recover_logs(
    files: FileSystem,
    folder: str,
    log_ids: Sequence[int],
    flushed_sequence: int,
    *,
    newest_snapshot: int = 0,
    are_sealed: bool = False,
    reads_around: bool = False,
) -> Recovered:
    """Read the logs `log_ids` in order.  Blocks.  Raises OSError; UnreadableBlock unless it `reads_around`.

    `flushed_sequence` is the last batch in a table; the first log continues after it.  Versions that a
    snapshot up to `newest_snapshot` may see are kept.  If all logs are sealed, none may have a torn tail.
    """
    recovered = Recovered(Memtable(flushed_sequence + 1), flushed_sequence, newest_snapshot)
    for number, file_id in enumerate(log_ids):
        is_last = not are_sealed and number == len(log_ids) - 1
        path = f"{folder}/{log_name(file_id)}"
        read = read_parts(files, path, reads_around=reads_around)
        _recover_log(path, file_id, read, recovered, is_last=is_last)
    return recovered


def _recover_log(path: str, file_id: int, read: Readable, recovered: Recovered, *, is_last: bool) -> None:
    pieces, durable_after = _pieces(file_id, read.data)
    may_be_torn = is_last and read.is_whole  # a power cut tears what was not synced, and leaves it readable
    if any(not isinstance(piece.item, Damage) for piece in pieces):
        recovered.newest_readable = file_id
    damage: _Piece | None = None  # since the last group
    for piece, durable in zip(pieces, durable_after, strict=True):
        item, expected = piece.item, recovered.last_sequence + 1
        if isinstance(item, Damage):
            damage = damage or piece
            continue
        if item.first_sequence > expected:
            at = (damage or piece).offset
            if may_be_torn and durable < expected:
                recovered.tail = file_id, at
                return
            why = "batches are missing before it"
            recovered.lose(Loss(path, at, expected, item.first_sequence - 1, why), file_id)
        if damage is not None:
            recovered.note_damage(file_id)
            damage = None
        _replay(recovered, file_id, path, piece.offset, item)
    size = len(read.data)
    if not _check_end(path, file_id, size, pieces, durable_after, recovered) and damage is not None:
        if may_be_torn:
            recovered.tail = file_id, damage.offset
        else:
            recovered.note_damage(file_id)
            recovered.unread_end = (file_id, damage.offset) if is_last else None


def _replay(recovered: Recovered, file_id: int, path: str, offset: int, item: BatchGroup) -> None:
    """Replay a group; one with a right checksum but impossible content is lost as a whole."""
    last = max(item.last_sequence, recovered.last_sequence)
    if item.first_sequence <= recovered.last_sequence:
        why = f"batch {item.first_sequence} again, {recovered.last_sequence + 1} expected"
        recovered.lose(Loss(path, offset, item.first_sequence, last, why), file_id)
        return
    if item.count:
        if recovered.log_ids[-1:] != [file_id]:
            recovered.log_ids.append(file_id)
        try:
            replay_group(recovered.memtable, item, path, offset, recovered.newest_snapshot)
        except CorruptBlock as error:
            recovered.lose(Loss(path, offset, item.first_sequence, last, error.why), file_id)
    recovered.last_sequence = last


def _check_end(
    path: str,
    file_id: int,
    size: int,
    pieces: list[_Piece],
    durable_after: list[int],
    recovered: Recovered,
) -> bool:
    """Damage at the very end of a log that cannot be a torn tail: the marks tell which batches are lost."""
    last = max(durable_after, default=0)
    if last <= recovered.last_sequence:
        return False
    why = next((p.item.why for p in pieces if isinstance(p.item, Damage)), "batches are missing")
    recovered.lose(Loss(path, size, recovered.last_sequence + 1, last, why), file_id)
    return True


def expect_all(folder: str, recovered: Recovered, newest_log: int, stopped_at: int | None) -> None:
    """Compare with the manifest, which names the newest log and the last batch of a clean stop.

    The first reveals a log that is missing or entirely unreadable; the second reveals any loss.  Without it
    nobody knows how much an end held that cannot be read.
    """
    if recovered.unread_end is not None and stopped_at is None:
        file_id, offset = recovered.unread_end
        first, why = recovered.last_sequence + 1, "what its end held cannot be read"
        path = f"{folder}/{log_name(file_id)}"
        recovered.lose(Loss(path, offset, first, recovered.last_sequence + LEAP, why), file_id)
    path, expected = f"{folder}/{log_name(newest_log)}", recovered.last_sequence + 1
    if stopped_at is not None:
        if stopped_at >= expected:
            why = f"the engine stopped in order behind batch {stopped_at}"
            recovered.lose(Loss(path, 0, expected, stopped_at, why), newest_log)
            recovered.tail = None
    elif newest_log > recovered.newest_readable:
        why = "the log was begun, and nothing of it can be read"
        recovered.lose(Loss(path, 0, expected, recovered.last_sequence + LEAP, why), newest_log)
        recovered.tail = None


def _pieces(file_id: int, data: bytes) -> tuple[list[_Piece], list[int]]:
    """Groups and damages, each with the highest durable sequence recorded in it or after it."""
    pieces: list[_Piece] = []
    durable: list[int] = []
    for offset, end, found in read_log(file_id, data):
        item = found if _highest(found) < _MOST_SEQUENCE else Damage(offset, end, "no such batch can be")
        if isinstance(item, BatchGroup | Damage):
            pieces.append(_Piece(offset, end, item))
            durable.append(item.durable if isinstance(item, BatchGroup) else 0)
        elif isinstance(item, SyncMark) and durable:
            durable[-1] = max(durable[-1], item.durable)
        elif isinstance(item, Header):
            # a log is created only when the one before it is entirely on the disk
            before = item.first_sequence - 1
            pieces.append(_Piece(offset, end, BatchGroup(before, item.first_sequence, 0, b"")))
            durable.append(before)
    for number in range(len(durable) - 2, -1, -1):
        durable[number] = max(durable[number], durable[number + 1])
    return pieces, durable


def _highest(item: LogItem | Damage) -> int:
    """The highest sequence in a record."""
    match item:
        case BatchGroup():
            return max(item.durable, item.last_sequence)
        case Header():
            return item.first_sequence
        case SyncMark():
            return item.durable
        case Damage():
            return 0


def replay_group(memtable: Memtable, group: BatchGroup, path: str, offset: int, newest_snapshot: int) -> None:
    """Put a group's changes into a memtable.  Raises CorruptBlock."""
    payload, values = group.payload, memtable.values
    try:
        for sequence, start, end in group.batches():
            for kind, key, value in parse_changes(payload, start, end):
                if kind == DROP_PREFIX:
                    memtable.drops.append((key, sequence))
                elif newest_snapshot:
                    memtable.put(sequence, key, value if kind == PUT else None, newest_snapshot)
                else:
                    values[key] = (sequence, value if kind == PUT else None)
            memtable.size_bytes += end - start
    except MalformedBatch as error:
        raise CorruptBlock(path, offset, str(error)) from None
