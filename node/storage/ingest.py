"""Adds a table to the store beside the log, for keys of which the store holds nothing yet.

A child makes the table and syncs it, and one edit of the manifest names it.  No log, memtable, flush or merge
has a part in it, and the loop does not see the values.  What is written of the same keys meanwhile is newer:
the table lies below all that may hold it, and bears an older sequence number.

Rule E9: docs/protocol/engine.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.log.commit_handle import Commit
from ringmill.node.storage.read.reading import Reading
from ringmill.node.storage.read.scan import Range, scan_chunks
from ringmill.node.storage.table.block import cell_of
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_writer import TableShape, TablesWriter, discard_tables
from ringmill.node.storage.unflushed import Unflushed
from ringmill.node.storage.upkeep.compaction_pick import level_below_all
from ringmill.node.storage.upkeep.compactor import Compactor
from ringmill.node.storage.upkeep.table_shape import table_shape
from ringmill.node.storage.upkeep.upkeep_tools import UpkeepTools
from ringmill.node.storage.version.table_ranges import may_hold
from ringmill.node.storage.version.version import VersionEdit

__all__ = ["Ingest", "TablePlace", "write_table"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TablePlace:
    """Where a child writes the table, and how."""

    folder: str
    file_id: int
    sequence: int  # of all values
    shape: TableShape


def write_table(
    files: FileSystem, place: TablePlace, keys: Sequence[bytes], values: Sequence[bytes]
) -> TableMeta | None:
    """Write ascending keys and their values under a temporary name, synced; None: there are none.

    For the function that `Ingest.make` runs.  Raises OSError.
    """
    with TablesWriter(files, place.folder, iter((place.file_id,)), place.shape) as writer:
        writer.add(keys, [cell_of(place.sequence, value) for value in values])
        made = writer.finish()
    return made[0] if made else None


class Ingest:
    """One table: ask what is `held`, `make` it, `add` it, and always `discard` what was not added.

    Until then no merge forgets the sequence of a version: the table may turn out to hold an older one.  And
    nobody may delete keys of its range or drop a prefix of them.  A snapshot that is taken before that may
    see the table.
    """

    def __init__(
        self, *, unflushed: Unflushed, reading: Reading, tools: UpkeepTools, compactor: Compactor
    ) -> None:
        self._unflushed = unflushed
        self._reading = reading
        self._tools = tools
        self._compactor = compactor
        self._sequence = unflushed.sequence
        self._snapshot = tools.snapshots.take(self._sequence)
        self._unnamed: int | None = None  # a file that nothing names
        self._meta: TableMeta | None = None

    async def held(self, start: bytes, end: bytes) -> set[bytes]:
        """The keys in [start, end) of which the store knows something, a deletion too.  The table must hold
        none of those that it knew something of when this ingest began.

        Raises CorruptBlock, OSError.
        """
        span = Range(start, end, self._unflushed.sequence, reverse=False)
        found = set[bytes]()
        with self._tools.tables.pin() as view:
            async for keys, _ in scan_chunks(self._unflushed.memtables(), view, span):
                found.update(keys)
        return found

    async def make(
        self,
        function: Callable[Concatenate[FileSystem, TablePlace, P], tuple[TableMeta | None, T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Have a child run a module-level function that makes the table by `write_table`, once.

        Returns what it tells besides.  Raises what it raises, ChildProcessError, OSError, StorageFailed.
        """
        tools = self._tools
        (self._unnamed,) = await tools.tables.take_ids(1)
        shape = table_shape(tools.options, is_split=False)
        place = TablePlace(tools.folder, self._unnamed, self._sequence, shape)
        self._meta, result = await tools.children.run(function, tools.files, place, *args, **kwargs)
        return result

    async def add(self, on_added: Callable[[], None]) -> bool:
        """Make the table durable and visible, and call `on_added` in the step in which it becomes so.

        Returns False when there is no place for it, or its range is damaged or dropped: nothing was changed,
        and the values have to be written as batches.  Raises OSError, RingmillError; then the table may be
        there after a restart, or not.
        """
        meta = self._meta
        if meta is None:
            on_added()
            return True
        # Or after a crash a later batch could have this sequence, and the table would not be older.
        await Commit(self._unflushed.log, self._sequence).synced()
        async with self._compactor.one_at_a_time:
            level = self._level(meta)
            if level is None:
                return False
            await self._tools.installer.commit(VersionEdit(added=((level, meta),)), [meta])
            self._unnamed = None
            self._snapshot.release()  # from now on a merge sees the table itself
            on_added()
        self._tools.on_change()
        return True

    def discard(self) -> None:
        """Delete the file of a table that was not added, and let merges forget sequences again."""
        self._snapshot.release()
        if self._unnamed is not None:
            discard_tables(self._tools.files, self._tools.folder, [self._unnamed])

    def _level(self, meta: TableMeta) -> int | None:
        version = self._tools.tables.version
        if any(mark.start <= meta.largest and _ends_after(mark.end, meta.smallest) for mark in version.marks):
            return None
        if any(may_hold(meta, drop) for drop in self._reading.drops()):
            return None
        return level_below_all(version, meta, self._tools.options)


def _ends_after(end: bytes | None, key: bytes) -> bool:
    return end is None or key < end
