"""What is applied and in no table yet: the active memtable, those sealed behind it, and the logs of each."""

from __future__ import annotations

from dataclasses import dataclass

from ringmill.node.storage.batch import Batch
from ringmill.node.storage.log.log_file import LogFile
from ringmill.node.storage.log.write_ahead_log import WriteAheadLog
from ringmill.node.storage.memtable import Memtable, VersionedValue
from ringmill.node.storage.storage_errors import StorageFailed

__all__ = ["SealedMemtable", "Unflushed"]


@dataclass(slots=True)
class SealedMemtable:
    """A full memtable and the logs it came from; the last one may still be on its way to the disk."""

    memtable: Memtable
    log_ids: list[int]
    last_log: LogFile
    is_log_damaged: bool = False

    @property
    def last_sequence(self) -> int:
        """The sequence of the memtable's last batch, once its last log is closed."""
        return self.last_log.written_sequence

    async def closed_logs(self) -> tuple[int, ...]:
        """Raises StorageFailed when the last log could not be closed."""
        await self.last_log.closed.wait()
        if not self.last_log.is_whole:
            raise StorageFailed("the log of a sealed memtable could not be written to its end")
        return (*self.log_ids, *self.last_log.file_ids)


class Unflushed:
    """`sealed` is newest first: a full memtable comes to its front, the flusher takes from its end.

    `active_logs` are closed logs that the active memtable was read from when the store was opened.
    """

    __slots__ = ("active", "active_logs", "log", "sealed", "sequence")

    def __init__(self, active: Memtable, active_logs: list[int], sequence: int, log: WriteAheadLog) -> None:
        self.active = active
        self.active_logs = active_logs
        self.sequence = sequence  # of the last applied batch
        self.log = log
        self.sealed: list[SealedMemtable] = []

    def apply(self, batch: Batch, payload: bytes, newest_snapshot: int) -> int:
        """Put a batch into the active memtable and its bytes into the log's queue; its sequence number."""
        memtable = self.active
        sequence = self.sequence = self.sequence + 1
        if newest_snapshot:
            for key, value in batch.changes:
                memtable.put(sequence, key, value, newest_snapshot)
        else:
            values = memtable.values
            for key, value in batch.changes:
                values[key] = (sequence, value)
        if batch.drops:
            memtable.drops += [(prefix, sequence) for prefix in batch.drops]
        self.log.append(payload)
        memtable.size_bytes += len(payload)
        return sequence

    def memtables(self) -> list[Memtable]:
        """Newest first."""
        return [self.active, *(sealed.memtable for sealed in self.sealed)]

    def find(self, key: bytes, sequence: int) -> VersionedValue | None:
        """The newest version of a key at or below `sequence`."""
        for memtable in self.memtables():
            entry = memtable.find(key, sequence)
            if entry is not None and entry[0] <= sequence:
                return entry
        return None

    def seal(self) -> None:
        """Begin a new memtable and log."""
        former = self.log.rotate(self.sequence + 1)
        self.sealed.insert(0, SealedMemtable(self.active, self.active_logs, former))
        self.active = Memtable(self.sequence + 1)
        self.active_logs = []
