"""The storage engine: an ordered, durable map from bytes to bytes.  It knows nothing of clusters.

A log-structured merge tree for one event loop.  `apply` puts a batch into the memtable and the log's queue
and returns at once.  A child process flushes a full memtable to a table; another compacts tables level by
level.  All calls come from one loop, so there are no locks; long sorts, writes and reads happen elsewhere.

See: docs/architecture.md, "Storage"; files: docs/formats/{log,table,manifest}.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.overload.giving_way import never
from ringmill.cluster.ports import Children, FileLock, FileSystem
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.check.checkpoint import make_checkpoint
from ringmill.node.storage.check.damage_marks import DamageMarks, EngineView
from ringmill.node.storage.check.pinned_tables import PinnedTables
from ringmill.node.storage.check.scrubbing import Scrubbing
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.ingest import Ingest
from ringmill.node.storage.log.commit_handle import Commit
from ringmill.node.storage.log.write_ahead_log import OnDurable, WriteAheadLog
from ringmill.node.storage.names import LOCK
from ringmill.node.storage.read.reading import Reading
from ringmill.node.storage.recovery.opening import Opened, open_folder, sweep
from ringmill.node.storage.storage_errors import CorruptBlock, NotCached, StorageFailed, UnreadableBlock
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.unflushed import Unflushed
from ringmill.node.storage.upkeep.admission import Admission
from ringmill.node.storage.upkeep.back_pressure import overload, unmerged_tables
from ringmill.node.storage.upkeep.stats import EngineCounters, Stats, take_stats
from ringmill.node.storage.upkeep.torn_log import replace_torn_log
from ringmill.node.storage.upkeep.upkeep import Upkeep
from ringmill.node.storage.upkeep.write_pressure import WritePressure
from ringmill.node.storage.version.snapshots import Snapshot, Snapshots
from ringmill.node.storage.version.version import CorruptMark
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["Batch", "Commit", "Engine", "NotCached", "EngineOptions", "Snapshot", "OnDurable"]

_log = logging.getLogger(__name__)

_READ_AGAIN_S: Final = (1.0, 4.0)
_SPARE_SHARE: Final = 1.5  # of a memtable's size; at twice its size a batch is refused
_SCRUB_BYTES_PER_S: Final = 16 << 20  # 1 GiB a minute, so that requests keep the disk; chosen, not measured


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
        is_busy: Callable[[], bool],
    ) -> None:
        self.folder = folder
        self.options = options
        self._files = files
        self._lock = lock
        self._tables = tables
        self._cache = BlockCache(options.block_cache_bytes)
        self._snapshots = Snapshots()
        self._counters = EngineCounters()
        recovered = opened.recovered
        self._log = WriteAheadLog(
            files=files,
            folder=folder,
            take_id=tables.take_id,
            on_begun=tables.note_log,
            next_sequence=recovered.last_sequence + 1,
            on_failure=self._refuse,
            on_full=self._pause,
            sync_turns=options.sync_turns,
        )
        self._unflushed = Unflushed(recovered.memtable, recovered.log_ids, recovered.last_sequence, self._log)
        self._upkeep = Upkeep(
            folder=folder, options=options, files=files, children=spawner, tables=tables,
            sealed=self._unflushed.sealed, snapshots=self._snapshots, counters=self._counters,
            on_change=self._on_change, is_busy=is_busy,
        )  # fmt: skip
        tables.on_failure = self._refuse
        self._admission = Admission(self._counters)
        self._pressure = WritePressure(
            options, unflushed=self._unflushed, upkeep=self._upkeep, admission=self._admission
        )
        self._scrubbing = Scrubbing(
            files=files, folder=folder, tables=tables, unflushed=self._unflushed,
            rewrite=self._upkeep.compactor.report_damage, seal=self._pressure.seal_unless_failed,
        )  # fmt: skip
        self._reading = Reading(
            unflushed=self._unflushed, tables=tables, cache=self._cache, snapshots=self._snapshots,
            report=self._scrubbing.report, check=self._admission.raise_failure,
            sorted_at_once=options.sorted_at_once,
        )  # fmt: skip
        sight = EngineView(
            tables=tables, cache=self._cache, snapshots=self._snapshots, memtables=self._unflushed.memtables,
            drops=self._reading.drops, sequence=lambda: self.sequence, report=self._scrubbing.report,
            apply=self.apply, wait_writable=self.wait_writable,
        )  # fmt: skip
        self._healing = DamageMarks(sight, self._upkeep.installer)
        self._stopping = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._on_change()

    @classmethod
    async def open(
        cls,
        folder: str,
        options: EngineOptions,
        *,
        files: FileSystem,
        spawner: Children,
        is_busy: Callable[[], bool] = never,
        lock: FileLock | None = None,
    ) -> Engine:
        """Open a folder, making it when missing, and recover what its logs hold.

        While `is_busy` returns True, compactions that can wait are put off.  `lock`: of the folder, if held.

        Raises BlockingIOError when another process has it open, CorruptData, OSError.
        """
        files.mkdir(folder)
        with ExitStack() as held:
            lock = lock or files.lock(f"{folder}/{LOCK}")
            held.callback(lock.release)
            opened = await _opened(files, folder, options)
            held.callback(opened.close)
            tables = await VersionSet.begin(files, folder, opened.version, opened.tables, opened.next_id)
            held.callback(tables.close)
            await files.off_loop(sweep, files, folder, opened)
            engine = cls(
                folder=folder, options=options, files=files, spawner=spawner,
                lock=lock, opened=opened, tables=tables, is_busy=is_busy,
            )  # fmt: skip
            held.pop_all()
        engine._runner = asyncio.create_task(engine._run(), name=f"engine {folder}")
        if opened.recovered.damaged:
            engine._scrubbing.leave_damaged_log()
        engine._pressure.seal_many_logs()
        return engine

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Write and sync all applied batches and unlock the folder.  Closing twice is fine."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self._admission.end(StorageFailed("the engine is closed", hint="open it again"))
        self._upkeep.give_up()  # or who waits for it now would wait forever
        self._stopping.set()
        try:
            await runner
        finally:
            self._tables.close()
            self._lock.release()

    # Writing

    def apply(self, batch: Batch, *, is_control: bool = False, frees_space: bool = False) -> Commit:
        """Make a batch visible atomically and queue it for the log.

        Control state may use the reserve of free space, and so may deletions (`frees_space`, rule E11).
        Raises InvalidArgument (over 64 MiB), Overloaded
        (the caller did not `wait_writable`), DiskFull (read-only until there is space), StorageFailed (until
        the engine is opened again).
        """
        admission = self._admission
        if admission.refusal is not None:
            admission.check(is_control=is_control or frees_space)
            self._pressure.frees_space |= frees_space
        unflushed, options = self._unflushed, self.options
        memtable = unflushed.active
        if memtable.fills(2 * options.memtable_bytes, 2 * options.memtable_records):
            raise overload(memtable.size_bytes)
        payload = batch.encode()
        sequence = unflushed.apply(batch, payload, self._snapshots.newest)
        admission.unpaced_bytes += len(payload)
        if batch.drops:
            self._on_change()
        if memtable.fills(options.memtable_bytes, options.memtable_records):
            self._pressure.seal_if_possible()
        return Commit(self._log, sequence)

    async def drop_prefix(self, *prefixes: bytes) -> Commit:
        """Delete every key that begins with one of `prefixes`, at the cost of a marker for each.

        Raises as `apply` for a batch that frees space.
        """
        batch = Batch()
        for prefix in prefixes:
            batch.drop_prefix(prefix)
        return self.apply(batch, frees_space=True)

    def ingest(self) -> Ingest:
        """Begin a table that is added beside the log, for keys of which the store holds nothing yet.

        Raises as `apply`.
        """
        self._admission.check(is_control=False)
        return Ingest(
            unflushed=self._unflushed, reading=self._reading,
            tools=self._upkeep.tools, compactor=self._upkeep.compactor,
        )  # fmt: skip

    async def wait_writable(self, *, is_control: bool = False, frees_space: bool = False) -> None:
        """Return when the engine accepts more writes; usually at once.

        Writers are slowed down when compaction falls behind, and stopped when it falls far behind.  Control
        state takes the spare space of a full memtable before it waits; what frees space waits as any other
        (rule E8).  Raises what `apply` raises.
        """
        if not (is_control and self.has_spare_space):
            await self._admission.wait(is_control=is_control or frees_space)

    @property
    def is_writable(self) -> bool:
        """`wait_writable` would return at once."""
        return self._admission.is_open

    @property
    def has_space(self) -> bool:
        """The memtable takes a batch in this step; one that waited since `wait_writable` looks again (rule
        E8)."""
        return self._admission.has_space

    @property
    def has_spare_space(self) -> bool:
        """The full memtable takes a few batches beyond its size, of writers that have lost their turn (rule
        E8)."""
        most = [_SPARE_SHARE * each for each in (self.options.memtable_bytes, self.options.memtable_records)]
        return self._admission.refusal is None and not self._unflushed.active.fills(*most)

    async def wait_idle(self) -> None:
        """Return when all sealed memtables are flushed and no compaction is due that has space.  Raises
        StorageFailed."""
        await self._upkeep.wait_idle()
        self._admission.raise_failure()

    async def flush(self) -> None:
        """Seal the memtable and return when it was flushed to a table, and what is due was merged.  Raises
        StorageFailed."""
        if self._unflushed.active.values or self._unflushed.active.drops:
            self._pressure.seal_unless_failed()
        await self.wait_idle()

    async def write_tables(self) -> None:
        """Seal the memtable and return when it was flushed, while merges go on.  Raises StorageFailed."""
        sequence = self.sequence
        if self._unflushed.active.values or self._unflushed.active.drops:
            self._pressure.seal_unless_failed()
        await self._upkeep.wait_flushed(sequence)
        self._admission.raise_failure()

    async def compact_range(self, start: bytes = b"", end: bytes | None = None) -> None:
        """Compact all tables that overlap [start, end) into one level, a few at a time (rule E12).

        What is written meanwhile is left out.  Raises DiskFull when some were left, OSError, RingmillError.
        """
        await self._upkeep.compactor.compact_range(start, end)

    async def checkpoint(self, folder: str) -> None:
        """Make a copy of this store in `folder` by hard links, on the same file system.

        Raises FileExistsError when it holds files already, StorageFailed, OSError.
        """
        self._pressure.seal()
        sealed, files = list(reversed(self._unflushed.sealed)), self._files
        await make_checkpoint(files, self.folder, folder, self._tables, self._upkeep.installer, sealed)

    async def pin_tables(self, start: bytes, end: bytes) -> PinnedTables:
        """The tables that hold what the store holds in [start, end) in the first step of this call.

        Flushing goes on until all of it is in tables.  The caller releases them.  Raises StorageFailed.
        """
        sequence = self.sequence
        with self._snapshots.take(sequence) as snapshot:  # no flush or merge drops what was current then
            await self.write_tables()
            pins = ExitStack()
            view = pins.enter_context(self._tables.pin())
            return PinnedTables(view, pins, snapshot, start, end)

    async def verify(self, *, bytes_per_s: float = _SCRUB_BYTES_PER_S) -> list[CorruptBlock]:
        """Read every block of every table, log and manifest, and return the damages.  Raises OSError.

        Reads at no more than `bytes_per_s`, and logs and manifest only as far as they are synced.  A damaged
        table is then rewritten without its damaged blocks, whose ranges are marked.  A damaged log loses
        nothing, because its batches are still in memory and are flushed.  A damaged manifest is replaced.
        """
        return await self._scrubbing.run(bytes_per_s)

    # Healing

    def corrupt_ranges(self) -> Sequence[CorruptMark]:
        """Key ranges whose newest values may be lost; reads there raise CorruptRange."""
        return self._tables.version.marks

    def may_lack(self, start: bytes, end: bytes, snapshot: Snapshot | None = None) -> bool:
        """Whether something of the keys from `start` to before `end` may be lost, now or in a snapshot."""
        healed = () if snapshot is None else snapshot.healed_since
        marks = (*self.corrupt_ranges(), *healed)
        return any(one.start < end and (one.end is None or start < one.end) for one in marks)

    @property
    def damage_found(self) -> asyncio.Event:
        """Set when a range is marked, and at opening when there are marks; clear it, then look at them."""
        return self._healing.found

    async def mark_healed(self, mark: CorruptMark, start: bytes = b"", end: bytes | None = None) -> None:
        """Make [start, end) of a mark readable again, after the caller has merged other copies in.

        The rest of the mark stays in force as up to two smaller marks; later calls may name the whole mark or
        a piece.  Durable on return.  Raises OSError, StorageFailed.
        """
        await self._healing.heal(mark, start, end)
        self._on_change()

    async def fence(self, start: bytes, end: bytes) -> None:
        """Mark [start, end) as a range whose newest values are lost: other copies hold what this store never
        had.

        Durable on return.  Raises OSError, StorageFailed, DiskFull.
        """
        sequence = self.sequence
        await Commit(self._log, sequence).synced()  # or a later batch could have this sequence after a crash
        await self._healing.fence(start, end, sequence)
        self._on_change()

    async def survivor(self, key: bytes) -> bytes | None:
        """The newest readable value of a key; ignores marks and skips damaged blocks.

        For healing only: what was lost may be newer.  Raises OSError, StorageFailed.
        """
        self._admission.raise_failure()
        return await self._healing.survivor(key)

    def survivors(
        self, start: bytes = b"", end: bytes | None = None
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        """The newest readable values of all keys in [start, end), in key order, as `survivor` finds them.

        Run it to its end or close it (`contextlib.aclosing`).  Raises OSError, StorageFailed.
        """
        self._admission.raise_failure()
        return self._healing.survivors(start, end)

    # Reading

    def get_nowait(self, key: bytes) -> bytes | None:
        """The value of a key, from memory, block cache or page cache.

        Raises NotCached when the disk is needed, CorruptBlock, CorruptRange, OSError.
        """
        return self._reading.get_nowait(key)

    async def get(self, key: bytes, *, snapshot: Snapshot | None = None) -> bytes | None:
        """The value of a key, now or as of a snapshot; a cold block is read by a thread."""
        return await self._reading.get(key, snapshot)

    async def get_for_change(self, key: bytes) -> tuple[bytes | None, bool]:
        """The value of a key, and whether it is still current: no write of the key and no table change came
        while it was read."""
        return await self._reading.get_for_change(key)

    def scan(
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
        return self._reading.scan(start, end, reverse, snapshot)

    def scan_chunks(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        reverse: bool = False,
        snapshot: Snapshot | None = None,
    ) -> AsyncGenerator[list[tuple[bytes, bytes]], None]:
        """What `scan` yields, but many pairs at a time, in lists: that is faster for long scans."""
        return self._reading.scan_chunks(start, end, reverse, snapshot)

    def snapshot(self) -> Snapshot:
        """The store as it is now, readable until released."""
        return self._snapshots.take(self.sequence)

    # State

    @property
    def sequence(self) -> int:
        """Number of the last applied batch."""
        return self._unflushed.sequence

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
        """Why ordinary batches are refused now, in one line; None while they are accepted."""
        refusal = self._admission.refusal
        return None if refusal is None else refusal.message

    def stats(self) -> Stats:
        return take_stats(
            sequence=self.sequence, log=self._log, memtables=self._unflushed.memtables(), cache=self._cache,
            reading=self._reading, snapshots=self._snapshots, counters=self._counters,
            version=self._tables.version, unmerged=unmerged_tables(self._tables.version, self.options),
            has_failed=self._admission.failure is not None, free_bytes=self._upkeep.space.free_bytes,
        )  # fmt: skip

    # Inside

    async def _run(self) -> None:
        """Own the background tasks until `close`, then end them in order.  A fault of one of them ends them
        all, and is logged: the store refuses everything from then on."""
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
                    with suppress(OSError, RingmillError):  # without the note the stop counts as a crash
                        await self._tables.note_stop(self.sequence)
        except Exception:
            _log.exception("the store in %s ends by a fault", self.folder)
            raise
        finally:
            self._log.fail(StorageFailed("the engine is closed", hint="open it again"))

    def _on_change(self) -> None:
        """The version, the memtables, the free space or the health changed."""
        self._healing.refresh()
        self._reading.refresh(is_failed=self._admission.failure is not None)
        self._pressure.refresh()

    def _pause(self, error: RingmillError) -> None:
        self._pressure.pause(error)

    def _refuse(self, error: RingmillError) -> None:
        self._reading.is_plain = False
        self._pressure.refuse(error)


async def _opened(files: FileSystem, folder: str, options: EngineOptions) -> Opened:
    """What the disk cannot read is read again some seconds later before it counts as lost (rule E10)."""
    for pause_s in _READ_AGAIN_S:
        try:
            return await files.off_loop(_recover, files, folder, options, is_patient=True)
        except UnreadableBlock as error:
            _log.warning("a file of the store is read again in %g s: %s", pause_s, error)
            await asyncio.sleep(pause_s)
    return await files.off_loop(_recover, files, folder, options, is_patient=False)


def _recover(files: FileSystem, folder: str, options: EngineOptions, *, is_patient: bool) -> Opened:
    """Blocks.  Raises OSError, UnreadableBlock."""
    opened = open_folder(files, folder, is_patient=is_patient)
    replace_torn_log(files, folder, options, opened)
    return opened
