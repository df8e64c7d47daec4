"""What the logs of a folder say after a stop of any kind.  Pure, but for reading the files through the door.

Damage at or below a sequence that was durable is corruption: it is reported as a mark over all keys,
because which keys it held is unknown, and reading goes on behind it.  Damage above, in the last log only,
is the honest tail of a power cut and is cut off.  Rules: docs/formats/log.md, "Recovery".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.ports import FileSystem
from node.storage.batch import DROP_PREFIX, PUT, MalformedBatch, parse_changes
from node.storage.errors import CorruptBlock
from node.storage.log_format import Group, Header, Mark, read_log
from node.storage.memtable import Memtable
from node.storage.names import log_name
from node.storage.records import Damage
from node.storage.version import CorruptMark

__all__ = ["Loss", "Recovered", "cut_tail", "recover_logs", "replay_group"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Acknowledged batches first to last (both included) that a damaged log has lost."""

    file: str
    offset: int
    first_sequence: int
    last_sequence: int
    why: str

    def mark(self) -> CorruptMark:
        return CorruptMark(b"", None, self.last_sequence)


@dataclass(slots=True)
class Recovered:
    """The memtable that the logs add up to."""

    memtable: Memtable
    last_sequence: int
    newest_snapshot: int = 0
    log_ids: list[int] = field(default_factory=list)  # of the logs that hold something
    losses: list[Loss] = field(default_factory=list)
    tail: tuple[int, int] | None = None  # the last log's id and where it is to be cut, if it is


@dataclass(frozen=True, slots=True)
class _Piece:
    """A group or damage of one log, with where it lies."""

    offset: int
    end: int
    item: Group | Damage


def recover_logs(
    files: FileSystem,
    folder: str,
    log_ids: Sequence[int],
    flushed_sequence: int,
    *,
    newest_snapshot: int = 0,
    are_sealed: bool = False,
) -> Recovered:
    """Read the logs `log_ids` in order.  Blocks.  Raises CorruptBlock, OSError.

    `flushed_sequence` is the last batch that tables hold; the first log goes on behind it.  Versions that a
    snapshot up to `newest_snapshot` may see are kept.  Where all logs are sealed, none may have a tail.
    """
    recovered = Recovered(Memtable(flushed_sequence + 1), flushed_sequence, newest_snapshot)
    for number, file_id in enumerate(log_ids):
        is_last = not are_sealed and number == len(log_ids) - 1
        _recover_log(files, folder, file_id, recovered, is_last=is_last)
    return recovered


def cut_tail(files: FileSystem, folder: str, recovered: Recovered) -> None:
    """Take the honest tail off the last log, so that what follows it is never read as its end.  Blocks."""
    if recovered.tail is not None:
        file_id, size = recovered.tail
        files.truncate(f"{folder}/{log_name(file_id)}", size)


def _recover_log(
    files: FileSystem, folder: str, file_id: int, recovered: Recovered, *, is_last: bool
) -> None:
    path = f"{folder}/{log_name(file_id)}"
    data = files.read_bytes(path)
    pieces, durable_after = _pieces(file_id, data)
    for piece, durable in zip(pieces, durable_after, strict=True):
        expected = recovered.last_sequence + 1
        item = piece.item
        is_gap = isinstance(item, Damage) or item.first_sequence != expected
        if is_gap and is_last and durable < expected:
            recovered.tail = file_id, piece.offset
            return
        if isinstance(item, Damage):
            continue
        if item.first_sequence < expected:
            raise CorruptBlock(path, piece.offset, f"batch {item.first_sequence} again, {expected} expected")
        if is_gap:
            recovered.losses.append(
                Loss(path, piece.offset, expected, item.first_sequence - 1, "batches are missing before it")
            )
        if item.count:
            replay_group(recovered.memtable, item, path, piece.offset, recovered.newest_snapshot)
            if recovered.log_ids[-1:] != [file_id]:
                recovered.log_ids.append(file_id)
        recovered.last_sequence = item.last_sequence
    _check_end(path, len(data), pieces, durable_after, recovered)


def _check_end(
    path: str, size: int, pieces: list[_Piece], durable_after: list[int], recovered: Recovered
) -> None:
    """Damage at the very end of a log that may not end so: the lost batches are known by the marks."""
    last = max(durable_after, default=0)
    if last > recovered.last_sequence:
        why = next((p.item.why for p in pieces if isinstance(p.item, Damage)), "batches are missing")
        recovered.losses.append(Loss(path, size, recovered.last_sequence + 1, last, why))
        recovered.last_sequence = last


def _pieces(file_id: int, data: bytes) -> tuple[list[_Piece], list[int]]:
    """Groups and damages, and for each the highest durable sequence told in it or behind it."""
    pieces: list[_Piece] = []
    durable: list[int] = []
    for offset, end, item in read_log(file_id, data):
        if isinstance(item, Group | Damage):
            pieces.append(_Piece(offset, end, item))
            durable.append(item.durable if isinstance(item, Group) else 0)
        elif isinstance(item, Mark) and durable:
            durable[-1] = max(durable[-1], item.durable)
        elif isinstance(item, Header):
            # a log is begun when the one before it is on the disk to its end
            before = item.first_sequence - 1
            pieces.append(_Piece(offset, end, Group(before, item.first_sequence, 0, b"")))
            durable.append(before)
    for number in range(len(durable) - 2, -1, -1):
        durable[number] = max(durable[number], durable[number + 1])
    return pieces, durable


def replay_group(memtable: Memtable, group: Group, path: str, offset: int, newest_snapshot: int) -> None:
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
