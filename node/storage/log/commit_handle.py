"""The result of `apply`: a batch that is already visible, and methods that wait for its durability.

The group commit itself is in write_ahead_log.py.
"""

from __future__ import annotations

from ringmill.node.storage.log.write_ahead_log import OnDurable, WriteAheadLog

__all__ = ["Commit"]


class Commit:
    """One applied batch.  Waiting raises StorageFailed or DiskFull (outcome unknown) when the log fails."""

    __slots__ = ("_log", "sequence")

    def __init__(self, log: WriteAheadLog, sequence: int) -> None:
        self._log = log
        self.sequence = sequence

    @property
    def is_synced(self) -> bool:
        return self._log.synced_sequence >= self.sequence

    async def synced(self, *, is_urgent: bool = True) -> None:
        """Return when the batch survives a power cut.  Joins the next group commit.

        `is_urgent` False: no request waits for it, so the loop does not wait for the disk either.
        """
        if self._log.synced_sequence < self.sequence:
            await self._log.until_synced(self.sequence, is_urgent=is_urgent)

    async def buffered(self) -> None:
        """Return when the batch survives the end of this process, but not yet a power cut."""
        if self._log.buffered_sequence < self.sequence and not self._log.write_now():
            await self._log.until_buffered(self.sequence)

    def tell_synced(self, on_durable: OnDurable) -> None:
        """Call back when the batch survives a power cut: with None, or the failure that rules it out.

        Does not wait.  The callback may run before this returns.
        """
        self._log.tell_synced(self.sequence, on_durable)

    def tell_buffered(self, on_durable: OnDurable) -> None:
        """Call back when the batch survives the end of this process: with None, or why it never will.

        Does not wait.  The callback may run before this returns.
        """
        self._log.tell_buffered(self.sequence, on_durable)
