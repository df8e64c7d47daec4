"""Objects that a new copy gets from an old owner, as one table of this node's engine.

The copy begins empty (rule M3), so that nearly all of what a source holds can be added beside the log: no
object has to be merged into another, logged, or written again by a flush.  The rest is merged in as usual:
keys that a write of the joint has brought already, objects with more than one value, deletes.

A write of the joint may come while the table is made.  It does not find the object of the table, so what it
stores is not the merge of the two; as it is newer, it hides the object.  So who wrote is noted, and what was
written meanwhile is handed back to be merged in once more (rule M4).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ringmill.cluster.ids import Actor, KeyspaceId
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import StoredObject
from ringmill.node.moves.table_of_pages import Item, PagesJob, TableFigures, make_table
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.pages import Page, PageBody
from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, Copy, Place, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.storage_errors import CorruptBlock

__all__ = ["Brought", "TableOfCopy"]


@dataclass(frozen=True, slots=True)
class Brought:
    """What came: `rest` has to be merged in, `read_bytes` are those of all keys and objects."""

    rest: Sequence[Item]
    read_bytes: int


class TableOfCopy:
    """A table of pages of one source, the first of which begins at `start`."""

    def __init__(
        self,
        copy: Copy,
        start: bytes,
        pages: Sequence[PageBody],
        *,
        engine: Engine,
        objects: ObjectStore,
        clock: HybridClock,
    ) -> None:
        self._copy = copy
        self._prefix = copy_prefix(copy)
        self._pages = pages
        self._starts = [start, *(page.covered_to for page in pages[:-1])]
        self._engine = engine
        self._objects = objects
        self._clock = clock
        self._touched: set[bytes] = set()  # stored keys that were written since this began
        self._late: list[Item] = []

    async def add(self) -> Brought | None:
        """Add what can be added, durable on return; None: nothing was, and all has to be merged in.

        Raises ProtocolMismatch, and what the engine raises; then nothing was added, or it is found when the
        source is read again.
        """
        with self._objects.written.noted() as self._touched:
            return await self._add()

    async def _add(self) -> Brought | None:
        objects, ingest = self._objects, self._engine.ingest()
        try:
            heals = objects.heals
            end = self._pages[-1].covered_to
            try:
                held = await ingest.held(
                    self._prefix + self._starts[0], self._prefix + end if end else prefix_end(self._prefix)
                )
            except CorruptBlock:
                return None
            bodies = [page.body for page in self._pages]
            figures = await ingest.make(make_table, PagesJob(self._prefix, bodies, frozenset(held)))
            self._check_made(figures)
            # A healing may delete what it finds in the copy, which an ingested table must not outlive.
            if objects.heals != heals or not await ingest.add(lambda: self._added(figures)):
                return None
            return Brought([*figures.rest, *self._late], figures.read_bytes)
        finally:
            ingest.discard()

    def _check_made(self, figures: TableFigures) -> None:
        """As for each object that is merged in: ObjectStore.check_made."""
        seen = VersionVector.of([(Actor(actor), counter) for actor, counter in figures.counters.items()])
        self._objects.check_made(Place(self._copy, KeyspaceId(1, 0), b""), StoredObject(seen))
        self._clock.observe(figures.newest)

    def _added(self, figures: TableFigures) -> None:
        """The table is there: count it, in the step in which others may find its objects."""
        sometimes("a new copy gets a table")
        objects, items, size_bytes = self._objects, figures.items, figures.size_bytes
        rest = {key for key, _ in figures.rest}
        self._late = [item for item in self._written_meanwhile() if item[0] not in rest]
        for key, encoded in self._late:
            figures.sums.drop(self._prefix + key, encoded)
            items -= 1
            size_bytes -= len(key) + len(encoded)
        if figures.first_expiry_ms:
            objects.dead.dead_from(self._prefix, figures.first_expiry_ms)
        objects.note_added(figures.sums, self._prefix, items, size_bytes)
        objects.changes += figures.items
        objects.feed.note_brought()

    def _written_meanwhile(self) -> list[Item]:
        """The source's objects of the keys that were written.  Only pages that hold one are unpacked."""
        by_page: dict[int, set[bytes]] = {}
        for stored_key in self._touched:
            key = stored_key[COPY_PREFIX_BYTES:]
            if stored_key.startswith(self._prefix) and key >= self._starts[0]:
                by_page.setdefault(bisect_right(self._starts, key) - 1, set()).add(key)
        return [
            item
            for number, keys in sorted(by_page.items())
            for item in Page.decode(self._pages[number].body).items
            if item[0] in keys
        ]
