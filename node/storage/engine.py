"""The storage engine: bytes to bytes, ordered, durable.  It stands alone and knows nothing of clusters.

A log-structured merge tree for one event loop.  `apply` puts a batch into the memtable and the log's queue
and returns at once; a full memtable is sealed, flushed to a table by a child process, and tables are
merged level by level by another.  All calls come from one loop, so there are no locks; nothing here sorts,
writes or reads a lot.

Rules: docs/architecture.md, "Storage"; files: docs/formats/{log,table,manifest}.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ports import Children, FileLock, FileSystem
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.check.checkpoint import make_checkpoint
from ringmill.node.storage.check.damage_marks import DamageMarks, EngineView
from ringmill.node.storage.check.scrubbing import logs_in_force, scrub_store
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.log.commit import Commit
from ringmill.node.storage.log.write_ahead_log import WriteAheadLog
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.names import LOCK, FilePart, parse_name
from ringmill.node.storage.read.judgement import check_span, judge
from ringmill.node.storage.read.lookup import find, find_off_loop
from ringmill.node.storage.read.scan import Range, checked_chunks
from ringmill.node.storage.recovery.opening import Opened, open_folder, sweep
from ringmill.node.storage.storage_errors import CorruptBlock, NotCached, StorageFailed
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.upkeep.admission import Admission
from ringmill.node.storage.upkeep.back_pressure import overload
from ringmill.node.storage.upkeep.flusher import SealedMemtable
from ringmill.node.storage.upkeep.stats import Counters, Stats, take_stats
from ringmill.node.storage.upkeep.upkeep import Upkeep
from ringmill.node.storage.version.snapshots import Snapshot, Snapshots
from ringmill.node.storage.version.version import CorruptMark, Drop
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["Batch", "Commit", "Engine", "NotCached", "EngineOptions", "Snapshot"]

Found = tuple[int, bytes | None]

_SCRUB_BYTES_PER_S: Final = 16 << 20
_SHORT_SPACE_SHARE: Final = 16  # of a memtable is flushed when space is short


class Engine:
    """An open store in one folder.  Made by `open`, ended by `close` or by leaving `async with`."""

    def __init__(
        self,
        *,
        folder: str,
        options: EngineOptions,
        files: FileSystem,
        spawner: Children,
        lock: FileLock,
        opened: Opened,
        tables: VersionSet,
    ) -> None:
        self.folder = folder
        self.options = options
        self._files = files
        self._lock = lock
        self._tables = tables
        self._cache = BlockCache(options.block_cache_bytes)
        self._snapshots = Snapshots()
        self._counters = Counters()
        self._active = opened.recovered.memtable
        self._active_logs = opened.recovered.log_ids
        self._sequence = opened.recovered.last_sequence
        self._log = WriteAheadLog(
            files=files,
            folder=folder,
            take_id=tables.take_id,
            on_begun=tables.note_log,
            next_sequence=self._sequence + 1,
            on_failure=self._refuse,
            on_full=self._pause,
        )
        self._upkeep = Upkeep(
            folder=folder, options=options, files=files, children=spawner, tables=tables,
            snapshots=self._snapshots, counters=self._counters, on_change=self._on_change,
        )  # fmt: skip
        tables.on_failure = self._refuse
        sight = EngineView(
            tables=tables,
            cache=self._cache,
            snapshots=self._snapshots,
            memtables=self._memtables,
            drops=self._drops,
            sequence=lambda: self._sequence,
            report=self._report,
            apply=self.apply,
            wait_writable=self.wait_writable,
        )
        self._healing = DamageMarks(sight, self._upkeep.installer)
        self._sealed = self._upkeep.flusher.sealed
        self._admission = Admission(self._counters)
        self._stopping = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._is_plain = True  # no drop, mark or failure: a get may return what it finds first
        self._on_change()

    @classmethod
    async def open(
        cls, folder: str, options: EngineOptions, *, files: FileSystem, spawner: Children
    ) -> Engine:
        """Open a folder, making it when missing, and recover what its logs hold.

        Raises BlockingIOError when another process has it open, CorruptData, OSError.
        """
        files.mkdir(folder)
        lock = files.lock(f"{folder}/{LOCK}")
        try:
            opened = await files.off_loop(open_folder, files, folder)
            tables = await VersionSet.begin(files, folder, opened.version, opened.tables, opened.next_id)
            await files.off_loop(sweep, files, folder, opened)
        except BaseException:
            lock.release()
            raise
        engine = cls(
            folder=folder, options=options, files=files, spawner=spawner,
            lock=lock, opened=opened, tables=tables,
        )  # fmt: skip
        engine._runner = asyncio.create_task(engine._run(), name=f"engine {folder}")
        if opened.recovered.damaged:
            engine._leave_damaged_log()
        return engine

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Write and sync all that was applied, and let go of the folder.  Closing twice is fine."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self._stopping.set()
        try:
            await runner
        finally:
            self._tables.close()
            self._lock.release()

    # Writing

    def apply(self, batch: Batch, *, is_control: bool = False) -> Commit:
        """Make a batch visible, all of it at once, and queue it for the log.

        Control state may use the reserve of free space.  Raises InvalidArgument (over 64 MiB), Overloaded
        (the caller did not `wait_writable`), DiskFull (read-only until space is back), StorageFailed (for
        good).
        """
        admission = self._admission
        if admission.refusal is not None:
            admission.check(is_control=is_control)
        memtable = self._active
        if memtable.size_bytes >= 2 * self.options.memtable_bytes:
            raise overload(memtable.size_bytes)
        payload = batch.encode()
        sequence = self._sequence = self._sequence + 1
        newest_snapshot = self._snapshots.newest
        if newest_snapshot:
            for key, value in batch.changes:
                memtable.put(sequence, key, value, newest_snapshot)
        else:
            values = memtable.values
            for key, value in batch.changes:
                values[key] = (sequence, value)
        if batch.drops:
            memtable.drops += [(prefix, sequence) for prefix in batch.drops]
            self._on_change()
        self._log.append(payload)
        memtable.size_bytes += len(payload)
        admission.unpaced_bytes += len(payload)
        if memtable.size_bytes >= self.options.memtable_bytes:
            self._seal_if_possible()
        return Commit(self._log, sequence)

    async def drop_prefix(self, prefix: bytes) -> Commit:
        """Delete every key that begins with `prefix`, at the cost of one marker."""
        batch = Batch()
        batch.drop_prefix(prefix)
        return self.apply(batch)

    async def wait_writable(self, *, is_control: bool = False) -> None:
        """Return when there is room for more; at once when there is.

        Writers are slowed down when merging lags behind, and wait when it lags far.  Raises what `apply`
        raises.
        """
        await self._admission.wait(is_control=is_control)

    async def wait_idle(self) -> None:
        """Return when all sealed memtables are flushed and no merge is due.  Raises StorageFailed."""
        await self._upkeep.wait_idle()
        self._admission.raise_failure()

    async def flush(self) -> None:
        """Seal the memtable and return when it is a table.  Raises StorageFailed."""
        if self._active.values or self._active.drops:
            self._seal()
        await self.wait_idle()

    async def compact_range(self, start: bytes = b"", end: bytes | None = None) -> None:
        """Merge all tables that overlap [start, end) into one level.  Raises OSError, RingmillError."""
        await self._upkeep.compactor.compact_range(start, end)

    async def checkpoint(self, folder: str) -> None:
        """Make `folder` open as this store is now: hard links, on the same file system.

        Raises FileExistsError when it holds files already, StorageFailed, OSError.
        """
        self._seal()
        sealed, files = list(reversed(self._sealed)), self._files
        await make_checkpoint(files, self.folder, folder, self._tables, self._upkeep.installer, sealed)

    async def verify(self, *, bytes_per_s: float = _SCRUB_BYTES_PER_S) -> list[CorruptBlock]:
        """Read every block of every table, and log and manifest as far as they are synced, at no more than
        `bytes_per_s`; the damages.  Raises OSError.

        A damaged table is then rewritten without its damaged blocks, whose ranges are marked; of a damaged
        log nothing is lost, as a table is made of what is in memory; a damaged manifest is written anew.
        """
        return await scrub_store(
            self._files, self.folder, self._tables, self._logs_in_force, self._report, bytes_per_s
        )

    # Healing

    def corrupt_ranges(self) -> Sequence[CorruptMark]:
        """Key ranges whose newest values may be lost; reads there raise CorruptRange."""
        return self._tables.version.marks

    @property
    def damage_found(self) -> asyncio.Event:
        """Set when a range is marked, and at opening when some are; clear it before you look at them."""
        return self._healing.found

    async def mark_healed(self, mark: CorruptMark, start: bytes = b"", end: bytes | None = None) -> None:
        """The caller has merged other copies of [start, end) in: that part of the mark is readable again.

        What is left of the mark is in force as up to two smaller ones; later calls may name the whole mark
        or a piece.  All of it is durable on return.  Raises OSError, StorageFailed.
        """
        await self._healing.heal(mark, start, end)
        self._on_change()

    async def survivor(self, key: bytes) -> bytes | None:
        """The newest value of a key that can still be read, marks and damaged blocks passed over.

        For healing only: what was lost may be newer.  Raises OSError, StorageFailed.
        """
        self._admission.raise_failure()
        return await self._healing.survivor(key)

    def survivors(
        self, start: bytes = b"", end: bytes | None = None
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """The same for all keys in [start, end), in key order.

        Run it to its end or close it (`contextlib.aclosing`).  Raises OSError, StorageFailed.
        """
        self._admission.raise_failure()
        return self._healing.survivors(start, end)

    # Reading

    def get_nowait(self, key: bytes) -> bytes | None:
        """The value of a key, from memory, block cache or page cache.

        Raises NotCached when the disk is needed, CorruptBlock, CorruptRange, OSError.
        """
        entry: Found | None = self._active.values.get(key)
        if entry is None:
            for sealed in self._sealed:
                entry = sealed.memtable.values.get(key)
                if entry is not None:
                    break
            else:
                try:
                    entry = find(self._tables.view, self._cache, key, self._sequence)
                except CorruptBlock as error:
                    self._report(error)
                    raise
        if self._is_plain:
            return None if entry is None else entry[1]
        return self._judge(key, entry, self._sequence)

    async def get(self, key: bytes, *, snapshot: Snapshot | None = None) -> bytes | None:
        """The value of a key, now or as of a snapshot; a cold block is read by a thread."""
        sequence = self._sequence if snapshot is None else snapshot.sequence
        entry = self._find_in_memory(key, sequence)
        if entry is None:
            with self._tables.pin() as view:
                try:
                    entry = await find_off_loop(view, self._cache, key, sequence)
                except CorruptBlock as error:
                    self._report(error)
                    raise
        return self._judge(key, entry, sequence)

    async def get_for_change(self, key: bytes) -> tuple[bytes | None, bool]:
        """As `get`, and whether that is the value still: no write of the key came and no table changed."""
        view, drops = self._tables.view, self._drops()
        value = await self.get(key)
        is_unwritten = self._find_in_memory(key, self._sequence) is None
        return value, is_unwritten and view is self._tables.view and drops == self._drops()

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        reverse: bool = False,
        snapshot: Snapshot | None = None,
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Keys and values in [start, end), in order, as they are now or at a snapshot.

        The scan pins what it reads: run it to its end or close it (`contextlib.aclosing`).
        Raises CorruptBlock, CorruptRange, OSError.
        """
        chunks = self.scan_chunks(start, end, reverse=reverse, snapshot=snapshot)
        async with aclosing(chunks):
            async for chunk in chunks:
                for pair in chunk:
                    yield pair

    async def scan_chunks(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        reverse: bool = False,
        snapshot: Snapshot | None = None,
    ) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """The same in lists, for those who read a lot."""
        sequence = self._sequence if snapshot is None else snapshot.sequence
        drops = tuple(drop for drop in self._drops() if drop.sequence <= sequence)
        span = Range(start, end, sequence, reverse, drops)
        memtables = self._memtables()
        with self._snapshots.take(sequence), self._tables.pin() as view:
            try:
                async for pairs in checked_chunks(memtables, view, span, self._check_span):
                    yield pairs
            except CorruptBlock as error:
                self._report(error)
                raise

    def snapshot(self) -> Snapshot:
        """The store as it is now, readable until released."""
        return self._snapshots.take(self._sequence)

    # State

    @property
    def sequence(self) -> int:
        """Number of the last applied batch."""
        return self._sequence

    @property
    def synced_sequence(self) -> int:
        """Number of the last batch known to be durable."""
        return self._log.synced_sequence

    @property
    def synced_log(self) -> tuple[int, int]:
        """Number of the newest log with synced bytes, and how many bytes of it are synced; (0, 0) before."""
        return self._log.synced_file

    @property
    def read_only_reason(self) -> str | None:
        """Why ordinary batches are refused now, in one line; None while they are taken."""
        refusal = self._admission.refusal
        return None if refusal is None else refusal.message

    def stats(self) -> Stats:
        return take_stats(
            sequence=self._sequence, log=self._log, memtables=self._memtables(), cache=self._cache,
            snapshots=self._snapshots, counters=self._counters, version=self._tables.version,
        )  # fmt: skip

    # Inside

    async def _run(self) -> None:
        """Own the background tasks until `close`, then end them in order."""
        try:
            async with asyncio.TaskGroup() as group:
                log = group.create_task(self._log.run())
                upkeep = group.create_task(self._upkeep.run())
                self._log.wake()
                await self._stopping.wait()
                upkeep.cancel()
                await asyncio.wait([upkeep])
                await self._log.close()
                await log
                if self._log.failure is None:
                    with suppress(OSError, RingmillError):  # without the note it was no stop in order
                        await self._tables.note_stop(self._sequence)
        finally:
            self._log.fail(StorageFailed("the engine is closed", hint="open it again"))

    def _memtables(self) -> list[Memtable]:
        """Newest first."""
        return [self._active, *(sealed.memtable for sealed in self._sealed)]

    def _find_in_memory(self, key: bytes, sequence: int) -> Found | None:
        for memtable in self._memtables():
            entry = memtable.find(key, sequence)
            if entry is not None and entry[0] <= sequence:
                return entry
        return None

    def _judge(self, key: bytes, entry: Found | None, sequence: int) -> bytes | None:
        if entry is not None and entry[0] > self._log.synced_sequence:
            self._admission.raise_failure()
        return judge(key, entry, sequence, self._tables.version.marks, self._drops())

    def _check_span(self, low: bytes, high: bytes | None) -> None:
        self._admission.raise_failure()
        check_span(low, high, self._tables.version.marks)

    def _report(self, damage: CorruptBlock) -> None:
        """Have a damaged table rewritten without the block, a damaged log replaced by a table of memory."""
        named = parse_name(damage.file.rpartition("/")[2])
        if named is not None and named.kind == "table":
            self._upkeep.compactor.report_damage(named.file_id)
        elif named is not None and named.file_id in (*self._active_logs, *self._log.current.file_ids):
            self._leave_damaged_log()

    def _leave_damaged_log(self) -> None:
        if self._admission.failure is None:  # else nothing is written any more
            self._seal()
            self._sealed[0].is_log_damaged = True

    def _logs_in_force(self) -> list[FilePart]:
        oldest_log = self._tables.version.oldest_log
        return logs_in_force(self._active_logs, self._log.current, self._sealed, oldest_log)

    def _drops(self) -> list[Drop]:
        fresh = [Drop(*drop) for memtable in self._memtables() for drop in memtable.drops]
        return [*fresh, *self._tables.version.drops]

    def _seal_if_possible(self) -> None:
        """Begin a new memtable and log, unless a sealed memtable still waits for its flush."""
        if self._sealed:
            self._admission.hold_back()
        else:
            self._seal()

    def _seal(self) -> None:
        former = self._log.rotate(self._sequence + 1)
        self._sealed.insert(0, SealedMemtable(self._active, self._active_logs, former))
        self._active = Memtable(self._sequence + 1)
        self._active_logs = []
        self._upkeep.space.check()
        self._upkeep.wake()

    def _on_change(self) -> None:
        """The version, the memtables, the free space or the health changed."""
        self._healing.look()
        admission, short = self._admission, self._upkeep.space.refusal
        self._is_plain = not (admission.failure or self._tables.version.marks or self._drops())
        if admission.log_full and short is None:
            admission.log_full = None
            self._log.resume()
        # a log may hold far more than the table it becomes: where space is short it is not kept for long
        is_hoarding = short is not None and admission.log_full is None
        limit = self.options.memtable_bytes // (_SHORT_SPACE_SHARE if is_hoarding else 1)
        is_full = self._active.size_bytes >= limit
        if is_full and not self._sealed and admission.failure is None:
            self._seal()
            is_full = False
        admission.look(short, self._upkeep.write_rate(), is_full=is_full)
        self._upkeep.wake()

    def _pause(self, error: RingmillError) -> None:
        """The log found the disk full: read-only until the space watch sees room again."""
        self._upkeep.space.check()
        self._admission.pause(error)

    def _refuse(self, error: RingmillError) -> None:
        """From now on nothing is applied, and nothing is served that was never synced."""
        self._admission.end(error)
        self._is_plain = False
        self._upkeep.give_up()
