"""The log of one memtable: what waits to be written, what was written, and how much of it is on the disk.

The task that writes: node/storage/log/write_ahead_log.py.  Rule E2: docs/protocol/engine.md.  Layout:
docs/formats/log.md.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringmill.cluster.ports import AppendFile
from ringmill.node.storage.log.framing import frame
from ringmill.node.storage.log.log_format import encode_group

__all__ = ["LogFile"]

_GROUP_BYTES: Final = 28 * 1024  # a group about fills a block, so that damage to one block costs one group
MOST_KEPT_BYTES: Final = 4 << 20
"""The most bytes kept of what the disk does not have yet, in case it turns out to be full at a sync."""


class LogFile:
    """The log of one memtable: the batches that wait to be written, and their file.

    It has several files if the disk was full in between; `file_ids` names all of them.
    """

    def __init__(self, first_sequence: int) -> None:
        self.file: AppendFile | None = None
        self.file_ids: list[int] = []
        self.synced_sizes: list[int] = []  # of each file: the size of its part that is on the disk
        self.begun_size = 0  # of the newest file, when only its header was on the disk
        self.waiting: list[bytes] = []
        self.written_sequence = first_sequence - 1
        self.kept: list[list[bytes]] = []  # batches written after the last sync, unless there are many
        self.kept_bytes = 0
        self.uncut: tuple[str, int] | None = None  # the file before, and how much of it is to be left
        self.is_closing = False
        self.is_whole = False  # closed after its last batch and entirely on the disk
        self.closed = asyncio.Event()

    @property
    def file_id(self) -> int:
        return self.file_ids[-1]

    @property
    def synced_size(self) -> int:
        """Up to here the disk has the newest file."""
        return max(self.begun_size, self.synced_sizes[-1])

    def frame_waiting(self, durable: int) -> bytes:
        """The bytes that append all waiting batches."""
        assert self.file is not None
        offset = self.file.size
        batches = self.waiting
        if len(batches) == 1:
            return frame(self.file_id, offset, encode_group(durable, self.written_sequence + 1, batches))
        parts: list[bytes] = []
        start = 0
        while start < len(batches):
            end, size = start, 0
            while end < len(batches) and size < _GROUP_BYTES:
                size += len(batches[end])
                end += 1
            first = self.written_sequence + 1 + start
            piece = frame(self.file_id, offset, encode_group(durable, first, batches[start:end]))
            parts.append(piece)
            offset += len(piece)
            start = end
        return b"".join(parts)

    def take_waiting(self, size_bytes: int = 0) -> list[bytes]:
        """The waiting batches; from now on they count as handed to the system.

        `size_bytes` is what they add to what is kept: nothing where they are synced at once, as they are in
        memory until then anyway.
        """
        batches, self.waiting = self.waiting, []
        self.written_sequence += len(batches)
        self.kept_bytes += size_bytes
        if self.kept_bytes <= MOST_KEPT_BYTES:
            self.kept.append(batches)
        else:
            self.kept = []
        return batches

    def forget_kept(self) -> None:
        """All that was written is on the disk."""
        self.kept, self.kept_bytes = [], 0

    def put_back_kept(self, synced_sequence: int) -> bool:
        """Have all that was written after this batch wait again; False when it is not here any more."""
        batches = [each for group in self.kept for each in group]
        if len(batches) != self.written_sequence - synced_sequence:
            return False
        self.put_back(batches)
        self.forget_kept()
        return True

    def put_back(self, batches: list[bytes]) -> None:
        """Undo `take_waiting`."""
        if self.kept and self.kept[-1] is batches:
            self.kept.pop()
        self.waiting[:0] = batches
        self.written_sequence -= len(batches)
