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
from contextlib import aclosing
from types import TracebackType
from typing import NoReturn

from cluster.errors import Overloaded, RingmillError
from cluster.ports import FileLock, FileSystem
from node.storage.batch import Batch
from node.storage.block_cache import BlockCache
from node.storage.commit import Commit
from node.storage.errors import CorruptRange, NotCached, StorageFailed
from node.storage.lookup import find, find_off_loop
from node.storage.memtable import Memtable
from node.storage.names import LOCK
from node.storage.opening import Opened, open_folder
from node.storage.options import Durability, Options
from node.storage.scan import Range, scan_chunks
from node.storage.snapshots import Snapshot, Snapshots
from node.storage.stats import Counters, Stats, level_stats
from node.storage.table_set import TableSet
from node.storage.upkeep import Children, Sealed, Upkeep
from node.storage.version import CorruptMark, Drop
from node.storage.write_ahead_log import WriteAheadLog

__all__ = ["Batch", "Commit", "Durability", "Engine", "NotCached", "Options", "Snapshot"]

Found = tuple[int, bytes | None]


class Engine:
    """An open store in one folder.  Made by `open`, ended by `close` or by leaving `async with`."""

    def __init__(
        self,
        folder: str,
        options: Options,
        files: FileSystem,
        spawner: Children,
        lock: FileLock,
        opened: Opened,
        tables: TableSet,
    ) -> None:
        self.folder = folder
        self.options = options
        self._lock = lock
        self._tables = tables
        self._cache = BlockCache(options.block_cache_bytes)
        self._snapshots = Snapshots()
        self._counters = Counters()
        self._active = opened.recovered.memtable
        self._active_logs = opened.recovered.log_ids
        self._sequence = opened.recovered.last_sequence
        self._log = WriteAheadLog(files, folder, self._take_id, self._sequence + 1, self._refuse)
        self._upkeep = Upkeep(
            folder, options, files, spawner, tables, self._snapshots, self._counters, self._on_change
        )
        self._sealed = self._upkeep.sealed
        self._refusal: RingmillError | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._stopping = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._is_plain = True  # no drop, mark or failure: a get may return what it finds first
        self._on_change()

    @classmethod
    async def open(cls, folder: str, options: Options, *, files: FileSystem, spawner: Children) -> Engine:
        """Open a folder, making it when missing, and recover what its logs hold.

        Raises BlockingIOError when another process has it open, CorruptData, OSError.
        """
        files.mkdir(folder)
        lock = files.lock(f"{folder}/{LOCK}")
        try:
            opened = await files.off_loop(open_folder, files, folder)
            tables = await TableSet.begin(files, folder, opened.version, opened.tables, opened.next_id)
        except BaseException:
            lock.release()
            raise
        engine = cls(folder, options, files, spawner, lock, opened, tables)
        engine._runner = asyncio.create_task(engine._run(), name=f"engine {folder}")
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
            self._refuse(StorageFailed("the engine is closed", hint="open it again"))
            self._tables.close()
            self._lock.release()

    # Writing

    def apply(self, batch: Batch) -> Commit:
        """Make a batch visible, all of it at once, and queue it for the log.

        Raises InvalidArgument (over 64 MiB), Overloaded (the caller did not `wait_writable`),
        StorageFailed and DiskFull (nothing can be written any more).
        """
        if self._refusal is not None:
            raise self._refusal
        memtable = self._active
        if memtable.size_bytes >= 2 * self.options.memtable_bytes:
            self._refuse_overload()
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
        if memtable.size_bytes >= self.options.memtable_bytes:
            self._seal_if_possible()
        return Commit(self._log, sequence)

    async def drop_prefix(self, prefix: bytes) -> Commit:
        """Delete every key that begins with `prefix`, at the cost of one marker."""
        batch = Batch()
        batch.drop_prefix(prefix)
        return self.apply(batch)

    async def wait_writable(self) -> None:
        """Return when there is room for more; at once when there is.  Raises what `apply` would raise."""
        while not self._has_room.is_set():
            self._counters.stalled_writes += 1
            await self._has_room.wait()
        if self._refusal is not None:
            raise self._refusal

    async def settle(self) -> None:
        """Return when all sealed memtables are flushed and no level is over its size."""
        await self._upkeep.settle()

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
                entry = find(self._tables.view, self._cache, key, self._sequence)
        if self._is_plain:
            return None if entry is None else entry[1]
        return self._judge(key, entry, self._sequence)

    async def get(self, key: bytes, *, snapshot: Snapshot | None = None) -> bytes | None:
        """The value of a key, now or as of a snapshot; a cold block is read by a thread."""
        sequence = self._sequence if snapshot is None else snapshot.sequence
        entry = self._find_in_memory(key, sequence)
        if entry is None:
            with self._tables.pin() as view:
                entry = await find_off_loop(view, self._cache, key, sequence)
        return self._judge(key, entry, sequence)

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
        memtables = self._memtables()
        drops = tuple(drop for drop in self._drops() if drop.sequence <= sequence)
        span = Range(start, end, sequence, reverse, drops)
        with self._snapshots.take(sequence), self._tables.pin() as view:
            async for keys, values in scan_chunks(memtables, view, span):
                self._check_span(span, keys[0], keys[-1])
                pairs = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
                if pairs:
                    yield pairs[::-1] if reverse else pairs
            self._check_span(span, start, end)

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

    def corrupt_ranges(self) -> Sequence[CorruptMark]:
        """Key ranges whose newest values may be lost; reads there raise CorruptRange."""
        return self._tables.version.marks

    def stats(self) -> Stats:
        return Stats(
            sequence=self._sequence,
            synced_sequence=self._log.synced_sequence,
            memtable_bytes=self._active.size_bytes,
            memtable_keys=len(self._active.values),
            sealed_memtables=len(self._sealed),
            log_bytes=self._log.written_bytes,
            log_syncs=self._log.syncs,
            cache_hits=self._cache.hits,
            cache_misses=self._cache.misses,
            snapshots=len(self._snapshots.live()),
            corrupt_ranges=len(self._tables.version.marks),
            counters=self._counters,
            levels=level_stats(self._tables.version),
        )

    # Inside

    async def _run(self) -> None:
        """Own the background tasks until `close`, then end them in order."""
        async with asyncio.TaskGroup() as group:
            log = group.create_task(self._log.run())
            upkeep = group.create_task(self._upkeep.run())
            self._log.wake()
            await self._stopping.wait()
            upkeep.cancel()
            await asyncio.wait([upkeep])
            await self._log.close()
            await log

    async def _take_id(self) -> int:
        return (await self._tables.take_ids(1))[0]

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
        """What may be told about a key whose newest version is `entry`."""
        found_at, value = entry or (0, None)
        if self._refusal is not None and found_at > self._log.synced_sequence:
            raise self._refusal
        for mark in self._tables.version.marks:
            if found_at <= mark.sequence and mark.covers(key):
                self._refuse_corrupt(mark)
        for drop in self._drops():
            if found_at <= drop.sequence <= sequence and key.startswith(drop.prefix):
                return None
        return value

    def _check_span(self, span: Range, low: bytes, high: bytes | None) -> None:
        """Refuse to tell about keys from `low` to `high` where something may be lost."""
        if self._refusal is not None:
            raise self._refusal
        for mark in self._tables.version.marks:
            if (high is None or mark.start <= high) and (mark.end is None or low < mark.end):
                self._refuse_corrupt(mark)

    def _refuse_corrupt(self, mark: CorruptMark) -> NoReturn:
        raise CorruptRange(
            f"versions up to {mark.sequence} of keys from {mark.start!r} to {mark.end!r} may be lost",
            detail={"start": mark.start, "end": mark.end, "sequence": mark.sequence},
            hint="the range is readable again once it was healed from other copies",
        )

    def _refuse_overload(self) -> NoReturn:
        raise Overloaded(
            f"the memtable holds {self._active.size_bytes} bytes, twice its size, and a flush is under way",
            detail={"retry_after": 0.1},
            hint="await wait_writable() before applying more",
        )

    def _drops(self) -> list[Drop]:
        fresh = [Drop(*drop) for memtable in self._memtables() for drop in memtable.drops]
        return [*fresh, *self._tables.version.drops]

    def _seal_if_possible(self) -> None:
        """Begin a new memtable and log, unless a sealed memtable still waits for its flush."""
        if self._sealed:
            self._has_room.clear()
            return
        former = self._log.rotate(self._sequence + 1)
        self._sealed.insert(0, Sealed(self._active, self._active_logs, former))
        self._active = Memtable(self._sequence + 1)
        self._active_logs = []
        self._upkeep.wake()

    def _on_change(self) -> None:
        """The version, the memtables or the health changed."""
        version = self._tables.version
        self._is_plain = not (self._refusal or version.marks or self._drops())
        if not self._sealed and self._active.size_bytes >= self.options.memtable_bytes:
            self._seal_if_possible()
        if self._active.size_bytes < self.options.memtable_bytes or not self._sealed:
            self._has_room.set()
        self._upkeep.wake()

    def _refuse(self, error: RingmillError) -> None:
        """From now on nothing is applied, and nothing is served that was never synced."""
        self._refusal = self._refusal or error
        self._is_plain = False
        self._has_room.set()
