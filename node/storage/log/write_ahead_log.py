"""The write-ahead log of a running engine, with group commit: batches gather while the previous sync runs.

`append` only queues; one task (`run`) owns the files and is the only one that waits for the disk.  A log is
sealed, synced and closed before the next one is created, so only the last log can have a tail torn by a power
cut.  After the first failed write or sync nothing is acknowledged, and no sync is tried again.

Rules E1, E2 and E4: docs/protocol/engine.md.  Layout: docs/formats/log.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

from ringmill.cluster.callbacks import call_guarded, resolve
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.os_errors import Meaning, is_full, meaning_of, no_space
from ringmill.cluster.ports import AppendFile, FileSystem
from ringmill.node.storage.log.framing import frame
from ringmill.node.storage.log.log_file import LogFile
from ringmill.node.storage.log.log_format import encode_header, encode_mark
from ringmill.node.storage.names import log_name
from ringmill.node.storage.storage_errors import StorageFailed, write_failed

__all__ = ["OnDurable", "WriteAheadLog"]

OnDurable: TypeAlias = Callable[[RingmillError | None], None]
"""Called once: with None when a batch is held, else with why it is not."""
Waiter: TypeAlias = tuple[int, OnDurable]

_MARK_DELAY_S: Final = 0.02
_BEGIN_AGAIN_S: Final = 0.5


class WriteAheadLog:
    """Appends batches in the order of their sequence numbers and tells when they are durable."""

    def __init__(
        self,
        *,
        files: FileSystem,
        folder: str,
        take_id: Callable[[], Awaitable[int]],
        on_begun: Callable[[int], Awaitable[None]],
        next_sequence: int,
        on_failure: Callable[[RingmillError], None],
        on_full: Callable[[RingmillError], None],
        sync_turns: int = 0,
    ) -> None:
        self._files = files
        self._folder = folder
        self._take_id = take_id
        self._on_begun = on_begun
        self._on_failure = on_failure
        self._on_full = on_full
        self._sync_turns = sync_turns
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._full: RingmillError | None = None  # while it waits for space
        self._current = LogFile(next_sequence)
        self._logs: deque[LogFile] = deque([self._current])  # none after a failure or the end
        self._wake = asyncio.Event()
        self._in_flight = False
        self._is_ending = False
        self._broken: tuple[LogFile, int, OSError] | None = None
        self._wanted = 0  # highest sequence that someone waits to see durable
        self._urgent = 0  # the same of those that a request waits for
        self._marked = next_sequence - 1
        self._mark_timer: asyncio.TimerHandle | None = None
        self._sync_waiters: list[Waiter] = []
        self._write_waiters: list[Waiter] = []
        self.failure: RingmillError | None = None
        self.synced_sequence = next_sequence - 1
        self.buffered_sequence = next_sequence - 1
        self.synced_file = (0, 0)  # number of the newest file with something on the disk, and how many bytes
        self.syncs = 0
        self.written_bytes = 0

    @property
    def current(self) -> LogFile:
        """The log that `append` appends to, or did until the end."""
        return self._current

    def append(self, payload: bytes) -> None:
        """Queue the batch with the next sequence number; the task writes it soon, even if nobody waits for
        it."""
        if not self._logs:
            raise StorageFailed("the engine is closed", hint="open it again")
        waiting = self._logs[-1].waiting
        waiting.append(payload)
        if len(waiting) == 1:
            self._wake.set()

    def rotate(self, next_sequence: int) -> LogFile:
        """Close the current log after its last batch and begin another.  Returns the closed one."""
        if not self._logs:
            raise StorageFailed("the engine is closed", hint="open it again")
        former = self._logs[-1]
        former.is_closing = True
        self._current = LogFile(next_sequence)
        self._logs.append(self._current)
        self._wake.set()
        return former

    def wake(self) -> None:
        """Let the task write the waiting batches soon."""
        self._wake.set()

    def write_now(self) -> bool:
        """Hand the waiting batches to the system at once; False if another write is in progress."""
        if self._in_flight or len(self._logs) != 1 or self.failure or self._broken:
            return False
        return self._logs[0].file is not None and self._write(self._logs[0])

    async def until_buffered(self, sequence: int) -> None:
        """Return when the system has the batch.  Raises StorageFailed, DiskFull."""
        while self.buffered_sequence < sequence:
            if not self.write_now():
                await self._join(self._write_waiters, sequence)

    async def until_synced(self, sequence: int, *, is_urgent: bool = True) -> None:
        """Return when the disk has the batch.  Raises StorageFailed, DiskFull.

        With `is_urgent` False no request waits for it, and its sync need not hold up the loop.
        """
        if self.synced_sequence < sequence:
            self._wanted = max(self._wanted, sequence)
            if is_urgent:
                self._urgent = max(self._urgent, sequence)
            await self._join(self._sync_waiters, sequence)

    def tell_synced(self, sequence: int, on_durable: OnDurable) -> None:
        """Call back when the disk has the batch, at once if it does: with None, or why it never will."""
        if self.synced_sequence >= sequence:
            on_durable(None)
        else:
            self._wanted = max(self._wanted, sequence)
            self._urgent = max(self._urgent, sequence)
            self._tell(self._sync_waiters, sequence, on_durable)

    def tell_buffered(self, sequence: int, on_durable: OnDurable) -> None:
        """Call back when the operating system has the batch, at once if it does.

        The callback gets None, or why the system never will.
        """
        if self.buffered_sequence >= sequence or (self.write_now() and self.buffered_sequence >= sequence):
            on_durable(None)
        else:
            self._tell(self._write_waiters, sequence, on_durable)

    async def run(self) -> None:
        """Write and sync until closed, failed or cancelled."""
        try:
            while self._logs:
                await self._step()
        except OSError as error:
            self.fail(_refusal(error, self.synced_sequence, is_final=not self._is_ending))
        except RingmillError as error:
            self.fail(error)
        finally:
            if self._mark_timer:
                self._mark_timer.cancel()

    def resume(self) -> None:
        """Write again: there is space."""
        self._full = None
        self._has_space.set()

    async def close(self) -> None:
        """Seal the last log, unless a log has failed; then `run` ends.

        On a full disk waiting batches are lost, but for what a log still holds that was not cut yet.
        """
        self._is_ending = True
        if self.failure is None:
            last = self._logs[-1]
            last.is_closing = True
            self._wake.set()
            if not self._has_space.is_set():
                error = no_space("closed while the disk is full", self._folder)
                self.fail(_refusal(error, self.synced_sequence))
            await last.closed.wait()

    async def _step(self) -> None:
        log = self._logs[0]
        if self.failure:
            self._logs.clear()
        elif self._broken:
            (log, good, error), self._broken = self._broken, None
            await self._leave(log, good, error)
        elif not self._has_space.is_set():
            await self._has_space.wait()
        elif log.file is None:
            await self._create(log)
        elif log.waiting and self._wanted > log.written_sequence:
            await self._gather()
            if log.waiting and not (self.failure or self._broken):
                await self._sync_waiting(log)
        elif log.written_sequence > self.synced_sequence < self._wanted:
            await self._sync_written(log)
        elif log.waiting:
            self._write(log)
        elif log.is_closing:
            await self._seal(log)
        else:
            self._wake.clear()
            await self._wake.wait()

    async def _gather(self) -> None:
        """Let others have some turns of the loop: they may add to the sync, and send what waits for it."""
        for _ in range(self._sync_turns):
            await asyncio.sleep(0)

    async def _create(self, log: LogFile) -> None:
        """Create a log.  Its name and header are durable and recorded in the manifest before any batch can be
        acknowledged, so that a log that disappears later is noticed."""
        file: AppendFile | None = None
        try:
            if log.uncut:
                await self._files.off_loop(self._files.truncate, *log.uncut)
                log.uncut = None
            file_id = await self._take_id()
            file = self._files.create(f"{self._folder}/{log_name(file_id)}")
            await file.append_and_sync(frame(file_id, 0, encode_header(file_id, log.written_sequence + 1)))
            await self._files.off_loop(self._files.fsync_dir, self._folder)
        except OSError as error:
            if file is not None:
                self._discard(file)
            await self._put_off(error)
            return
        await self._on_begun(file_id)
        log.file_ids.append(file_id)
        log.synced_sizes.append(0)
        log.begun_size = file.size
        log.file = file

    def _discard(self, file: AppendFile) -> None:
        """Close and delete a log of which nothing was told: it holds no batch."""
        with suppress(OSError):  # what stays is deleted when the folder is opened next
            file.close()
            self._files.unlink(file.path)

    async def _put_off(self, error: OSError) -> None:
        """Have a log begun later: when there is space, or soon when the process was out of descriptors.

        Raises as `_suspend`.
        """
        if meaning_of(error) is Meaning.EXHAUSTED and not self._is_ending:
            await asyncio.sleep(_BEGIN_AGAIN_S)
        else:
            self._suspend(error)

    def _write(self, log: LogFile) -> bool:
        """Append the waiting batches without a sync; False when that failed and `_step` has to handle it."""
        assert log.file is not None
        good = log.file.size
        data = log.frame_waiting(self.synced_sequence)
        try:
            log.file.append(data)
        except OSError as error:
            self._broken = log, good, error
            self._wake.set()
            return False
        log.take_waiting(len(data))
        self.written_bytes += len(data)
        self.buffered_sequence = log.written_sequence
        if self._write_waiters:
            _release(self._write_waiters, self.buffered_sequence)
        return True

    async def _sync_waiting(self, log: LogFile) -> None:
        assert log.file is not None
        good = log.file.size
        data = log.frame_waiting(self.synced_sequence)
        batches = log.take_waiting()
        try:
            await self._sync(log, data)
        except OSError as error:
            if log.file.size == good + len(data):  # the append went well, so it was the sync that failed
                await self._leave_unsynced(log, error)
            else:
                log.put_back(batches)
                await self._leave(log, good, error)

    async def _sync_written(self, log: LogFile) -> bool:
        """Sync what was handed to the system; False when the disk is full, so that it waits again."""
        try:
            await self._sync(log, b"")
        except OSError as error:
            await self._leave_unsynced(log, error)
            return False
        return True

    async def _sync(self, log: LogFile, data: bytes) -> None:
        assert log.file is not None
        last = log.written_sequence
        self._in_flight = True
        try:
            await log.file.append_and_sync(data, off_loop=self._urgent <= self.synced_sequence)
        finally:
            self._in_flight = False
        log.synced_sizes[-1] = log.file.size  # nothing else is appended while a sync is in flight
        self.synced_file = log.file_id, log.file.size
        log.forget_kept()
        self.syncs += 1
        self.written_bytes += len(data)
        self._advance(last)
        if self._mark_timer is None:
            self._mark_timer = asyncio.get_running_loop().call_later(_MARK_DELAY_S, self._mark)

    def _advance(self, last: int) -> None:
        """Note that all batches up to `last` are on the disk."""
        self.buffered_sequence = self.synced_sequence = last
        _release(self._write_waiters, last)
        _release(self._sync_waiters, last)

    async def _leave(self, log: LogFile, good: int, error: OSError) -> None:
        """Cut a log that could not grow back to its last whole record; waiting batches go into another file.

        Raises `error` unless the disk is full.
        """
        if not is_full(error):
            raise error
        path, unsynced = _close(log)
        if unsynced is None:
            try:
                await self._files.off_loop(self._files.truncate, path, good)
            except OSError as failed:
                unsynced = failed
        if unsynced is not None:
            self._wait_again(log, path, unsynced)
        else:
            log.synced_sizes[-1] = good
            log.forget_kept()
            self._advance(log.written_sequence)
        self._suspend(error)

    async def _leave_unsynced(self, log: LogFile, error: OSError) -> None:
        """Keep what a failed sync left unsynced: where space is found late, that tells of a full disk."""
        path, _ = _close(log)
        self._wait_again(log, path, error)
        self._suspend(error)

    def _wait_again(self, log: LogFile, path: str, error: OSError) -> None:
        """Have all that the disk may lack wait again.  It is cut off when the next file is begun: until then
        a start after a kill finds it.

        Raises `error` unless the disk is full and all of it is still in memory.
        """
        if not is_full(error) or not log.put_back_kept(self.synced_sequence):
            raise error
        log.uncut = path, log.synced_size
        self.buffered_sequence = log.written_sequence

    def _suspend(self, error: OSError) -> None:
        """Wait for space.  Raises `error` for any other failure, and at the end, when nobody waits."""
        if self._is_ending or not is_full(error):
            raise error
        self._has_space.clear()
        self._full = refusal = _refusal(error, self.synced_sequence)
        self._turn_away(refusal)
        self._on_full(refusal)

    async def _seal(self, log: LogFile) -> None:
        """Sync, then write the seal: all that the seal calls durable must be durable before it is written."""
        assert log.file is not None
        if log.written_sequence > self.synced_sequence and not await self._sync_written(log):
            return
        mark = frame(log.file_id, log.file.size, encode_mark(log.written_sequence, is_seal=True))
        good = log.file.size
        try:
            await self._sync(log, mark)
        except OSError as error:
            if not is_full(error):
                raise
            good = log.synced_size if log.file.size == good + len(mark) else good
            self._in_flight = True  # no mark may be appended while it is cut
            try:
                await self._files.off_loop(self._files.truncate, log.file.path, good)  # good without its seal
            finally:
                self._in_flight = False
            self._advance(log.written_sequence)
        log.file.close()
        self._logs.popleft()
        log.is_whole = True
        log.closed.set()

    def _mark(self) -> None:
        """Append a mark that the last group is durable.  The mark is not synced; losing it does no harm."""
        self._mark_timer = None
        log = self._logs[0] if self._logs else None
        if log is None or log.file is None or self.failure or self._broken:
            return
        if self._marked == self.synced_sequence:
            return
        if self._in_flight:
            self._mark_timer = asyncio.get_running_loop().call_later(_MARK_DELAY_S, self._mark)
            return
        self._marked = self.synced_sequence
        good = log.file.size
        try:
            log.file.append(frame(log.file_id, good, encode_mark(self._marked, is_seal=False)))
        except OSError as error:
            self._broken = log, good, error
            self._wake.set()

    def fail(self, failure: RingmillError) -> None:
        """Write and acknowledge nothing more."""
        if self.failure is not None:
            return
        self.failure = failure
        self._turn_away(failure)
        for log in self._logs:
            log.closed.set()
        self._wake.set()
        self._has_space.set()
        self._on_failure(self.failure)

    def _turn_away(self, refusal: RingmillError) -> None:
        """Fail all callers that wait."""
        for waiters in (self._sync_waiters, self._write_waiters):
            refused = waiters[:]
            waiters.clear()
            for _, on_durable in refused:
                call_guarded(on_durable, refusal)

    async def _join(self, waiters: list[Waiter], sequence: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tell(waiters, sequence, partial(resolve, future))
        await future

    def _tell(self, waiters: list[Waiter], sequence: int, on_durable: OnDurable) -> None:
        if refusal := self.failure or self._full:  # who would wait for space waits for hours
            on_durable(refusal)
            return
        waiters.append((sequence, on_durable))
        self._wake.set()


def _release(waiters: list[Waiter], sequence: int) -> None:
    """Tell all that wait for `sequence` or less."""
    due = [on_durable for wanted, on_durable in waiters if wanted <= sequence]
    waiters[:] = [waiter for waiter in waiters if waiter[0] > sequence]
    for on_durable in due:
        call_guarded(on_durable, None)


def _close(log: LogFile) -> tuple[str, OSError | None]:
    """Close the file: nobody may append while it is cut.  Returns its path, and what NFS tells only now."""
    assert log.file is not None
    file, log.file = log.file, None
    try:
        file.close()
    except OSError as error:
        return file.path, error
    return file.path, None


def _refusal(error: OSError, synced_sequence: int, *, is_final: bool = False) -> RingmillError:
    what_stands = f"; batches up to {synced_sequence} are durable"
    return write_failed(error, what_stands, is_final=is_final, synced=synced_sequence)
