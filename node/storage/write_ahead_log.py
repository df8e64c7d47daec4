"""The write-ahead log of a running engine: batches gather while the former sync runs.

`append` only remembers; one task (`run`) owns the files and is the only one that waits for the disk.  A
log is sealed, synced and closed before the next one is made, so only the last log can end in an honest
tail. The first failed write or sync ends all: nothing is acknowledged after it, and no sync is tried
again.

Rules: docs/formats/log.md, docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from cluster.errors import DiskFull, RingmillError
from cluster.ports import AppendFile, FileSystem
from node.storage.errors import StorageFailed
from node.storage.log_format import encode_group, encode_header, encode_mark
from node.storage.names import log_name
from node.storage.records import frame

__all__ = ["LogFile", "WriteAheadLog"]

_GROUP_BYTES: Final = 28 * 1024  # a group about fills a block, so that damage to one block costs one group
_MARK_DELAY_S: Final = 0.02
_OUT_OF_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LogFile:
    """One log: first the batches that wait to be written, then the file they are in."""

    def __init__(self, first_sequence: int) -> None:
        self.first_sequence = first_sequence
        self.file: AppendFile | None = None
        self.file_id = 0
        self.waiting: list[bytes] = []
        self.waiting_bytes = 0
        self.written_sequence = first_sequence - 1
        self.is_closing = False
        self.closed = asyncio.Event()

    def take_groups(self, durable: int) -> bytes:
        """Frame all that waits; from now on it counts as handed to the system."""
        assert self.file is not None
        parts: list[bytes] = []
        offset = self.file.size
        batches, self.waiting, self.waiting_bytes = self.waiting, [], 0
        first = self.written_sequence + 1
        start = 0
        while start < len(batches):
            end, size = start, 0
            while end < len(batches) and size < _GROUP_BYTES:
                size += len(batches[end])
                end += 1
            piece = frame(self.file_id, offset, encode_group(durable, first + start, batches[start:end]))
            parts.append(piece)
            offset += len(piece)
            start = end
        self.written_sequence += len(batches)
        return b"".join(parts)


class WriteAheadLog:
    """Appends batches in the order of their sequence numbers and tells when they are durable."""

    def __init__(
        self,
        files: FileSystem,
        folder: str,
        take_id: Callable[[], Awaitable[int]],
        next_sequence: int,
        on_failure: Callable[[RingmillError], None],
    ) -> None:
        self._files = files
        self._folder = folder
        self._take_id = take_id
        self._on_failure = on_failure
        self._logs: deque[LogFile] = deque([LogFile(next_sequence)])
        self._wake = asyncio.Event()
        self._in_flight = False
        self._wanted = 0  # highest sequence that someone waits to see durable
        self._marked = next_sequence - 1
        self._mark_timer: asyncio.TimerHandle | None = None
        self._sync_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._write_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.failure: RingmillError | None = None
        self.synced_sequence = next_sequence - 1
        self.buffered_sequence = next_sequence - 1
        self.syncs = 0
        self.written_bytes = 0

    @property
    def current(self) -> LogFile:
        """The log that `append` appends to."""
        return self._logs[-1]

    def append(self, payload: bytes) -> None:
        """Remember the batch with the next sequence number."""
        log = self._logs[-1]
        log.waiting.append(payload)
        log.waiting_bytes += len(payload)

    def rotate(self, next_sequence: int) -> LogFile:
        """Close the current log behind what it holds and begin another; the former is returned."""
        former = self._logs[-1]
        former.is_closing = True
        self._logs.append(LogFile(next_sequence))
        self._wake.set()
        return former

    def wake(self) -> None:
        """Let the task write what waits, soon."""
        self._wake.set()

    def write_now(self) -> bool:
        """Hand what waits to the system at once, if no write is under way; False if one is."""
        if self._in_flight or len(self._logs) != 1 or self.failure or self._logs[0].file is None:
            return False
        log = self._logs[0]
        self._write(log)
        return True

    async def until_buffered(self, sequence: int) -> None:
        """Return when the system has the batch.  Raises StorageFailed, DiskFull."""
        while self.buffered_sequence < sequence:
            if not self.write_now():
                await self._join(self._write_waiters, sequence)

    async def until_synced(self, sequence: int) -> None:
        """Return when the disk has the batch.  Raises StorageFailed, DiskFull."""
        if self.synced_sequence < sequence:
            self._wanted = max(self._wanted, sequence)
            await self._join(self._sync_waiters, sequence)

    async def run(self) -> None:
        """Write and sync until closed, failed or cancelled."""
        try:
            while self._logs:
                await self._step()
        except OSError as error:
            self._fail(error)
        finally:
            if self._mark_timer:
                self._mark_timer.cancel()

    async def close(self) -> None:
        """Seal the last log, unless a log has failed; then `run` ends."""
        if self.failure is None:
            last = self._logs[-1]
            last.is_closing = True
            self._wake.set()
            await last.closed.wait()

    async def _step(self) -> None:
        log = self._logs[0]
        if log.file is None:
            await self._create(log)
        elif log.waiting and self._wanted > log.written_sequence:
            await self._sync(log, log.take_groups(self.synced_sequence))
        elif log.written_sequence > self.synced_sequence < self._wanted:
            await self._sync(log, b"")
        elif log.waiting:
            self._write(log)
        elif log.is_closing:
            await self._seal(log)
        else:
            self._wake.clear()
            await self._wake.wait()

    async def _create(self, log: LogFile) -> None:
        """The name is durable before anything in the file can be acknowledged."""
        log.file_id = await self._take_id()
        log.file = self._files.create(f"{self._folder}/{log_name(log.file_id)}")
        log.file.append(frame(log.file_id, 0, encode_header(log.file_id, log.first_sequence)))
        await self._files.off_loop(self._files.fsync_dir, self._folder)

    def _write(self, log: LogFile) -> None:
        """Append what waits without a sync.  A failure is remembered and raised to nobody."""
        assert log.file is not None
        data = log.take_groups(self.synced_sequence)
        try:
            log.file.append(data)
        except OSError as error:
            self._fail(error)
            return
        self.written_bytes += len(data)
        self.buffered_sequence = log.written_sequence
        _release(self._write_waiters, self.buffered_sequence)

    async def _sync(self, log: LogFile, data: bytes) -> None:
        assert log.file is not None
        last = log.written_sequence
        self._in_flight = True
        try:
            await log.file.append_and_sync(data)
        finally:
            self._in_flight = False
        self.syncs += 1
        self.written_bytes += len(data)
        self.buffered_sequence = self.synced_sequence = last
        _release(self._write_waiters, last)
        _release(self._sync_waiters, last)
        if self._mark_timer is None:
            self._mark_timer = asyncio.get_running_loop().call_later(_MARK_DELAY_S, self._mark)

    async def _seal(self, log: LogFile) -> None:
        assert log.file is not None
        mark = encode_mark(log.written_sequence, is_seal=True)
        await self._sync(log, frame(log.file_id, log.file.size, mark))
        log.file.close()
        self._logs.popleft()
        log.closed.set()

    def _mark(self) -> None:
        """Note, behind the last group, that it is durable; unsynced, so it may be lost, harmlessly."""
        self._mark_timer = None
        if self._marked == self.synced_sequence or self.failure or not self._logs:
            return
        log = self._logs[0]
        if log.file is None:
            return
        if self._in_flight:
            self._mark_timer = asyncio.get_running_loop().call_later(_MARK_DELAY_S, self._mark)
            return
        self._marked = self.synced_sequence
        try:
            log.file.append(frame(log.file_id, log.file.size, encode_mark(self._marked, is_seal=False)))
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        kind = DiskFull if error.errno in _OUT_OF_SPACE else StorageFailed
        self.failure = kind(
            f"writing {error.filename} failed: {error.strerror}; batches up to {self.synced_sequence} are"
            " durable, nothing later is acknowledged",
            detail={"file": str(error.filename), "errno": error.errno, "synced": self.synced_sequence},
            hint="free or repair the disk and restart the node",
            outcome="unknown",
        )
        for waiters in (self._sync_waiters, self._write_waiters):
            for _, future in waiters:
                if not future.done():
                    future.set_exception(self.failure)
            waiters.clear()
        for log in self._logs:
            log.closed.set()
        self._on_failure(self.failure)

    async def _join(self, waiters: list[tuple[int, asyncio.Future[None]]], sequence: int) -> None:
        if self.failure:
            raise self.failure
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append((sequence, future))
        self._wake.set()
        await future


def _release(waiters: list[tuple[int, asyncio.Future[None]]], sequence: int) -> None:
    """Wake all that wait for `sequence` or less."""
    later = []
    for waiter in waiters:
        if waiter[0] > sequence:
            later.append(waiter)
        elif not waiter[1].done():
            waiter[1].set_result(None)
    waiters[:] = later
