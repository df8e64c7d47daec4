"""What a node's copies hold, in figures: keys, bytes, what is dead, and the sums by which owners compare.

A scan after the start counts what is stored, while requests are served; every change keeps the figures right
from then on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.versions.hybrid_time import millis
from ringmill.cluster.versions.object_codec import outline
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.comparing.copy_sums import CopySums
from ringmill.node.replica.comparing.held_figures import HeldFigures
from ringmill.node.replica.comparing.readable_objects import Unread, readable_objects
from ringmill.node.replica.purging.dead_counts import DeadCounts
from ringmill.node.replica.stored_key import (
    COPY_PREFIX_BYTES,
    Copy,
    copy_prefix,
    parse_copy,
    prefix_end,
)
from ringmill.node.storage.engine import Engine

__all__ = ["StoredCount"]

_log = logging.getLogger(__name__)


class StoredCount:
    def __init__(self, engine: Engine, options: ReplicaOptions) -> None:
        self._engine = engine
        self._options = options
        self._keys: dict[bytes, int] = {}  # by the copy's prefix
        self._sizes: dict[bytes, int] = {}  # bytes of keys and objects, by the copy's prefix
        # Prefixes of copies that went while a count is under way, which may still see their keys.
        self._gone: dict[bytes, None] = {}
        self._count_wanted = asyncio.Event()
        self._count_wanted.set()
        self.counts = 0
        """Counts that were begun, since the start."""
        self.counted = asyncio.Event()
        """Set while `is_counted`."""
        self.sums = CopySums()
        self.dead = DeadCounts()

    @property
    def is_counted(self) -> bool:
        """Whether the figures are those of all that is stored and can be read."""
        return self.counted.is_set()

    @property
    def keys(self) -> int:
        """Keys with a value; those found so far until `is_counted`."""
        return max(0, sum(self._keys.values()))

    @property
    def size_bytes(self) -> int:
        """Bytes of keys, without the copy's prefix, and of objects; those found so far until `is_counted`."""
        return max(0, sum(self._sizes.values()))

    def partition_sizes(self) -> dict[PartitionId, int]:
        """Bytes of keys and objects of each partition of which something is stored."""
        found: dict[PartitionId, int] = {}
        for copy in self.copies():
            size_bytes = self._sizes[copy_prefix(copy)]
            found[copy.partition] = found.get(copy.partition, 0) + max(0, size_bytes)
        return found

    def copies(self) -> list[Copy]:
        """Copies of which a key may be stored; not all of them until `is_counted`."""
        return [parse_copy(prefix) for prefix in self._sizes]

    def drop_copy(self, copy: Copy) -> None:
        """Take all keys of a copy out of the figures: they are gone."""
        prefix = copy_prefix(copy)
        if not self.is_counted:
            self._gone[prefix] = None
        self._keys.pop(prefix, None)
        self._sizes.pop(prefix, None)
        self.dead.drop_copy(copy)
        self.sums.drop_copy(copy)

    def note_changed(self, key: bytes, old: bytes | None, new: bytes, new_values: int) -> None:
        """Count an object that stands in the place of another or of none; `new_values` is 1 when the key has
        a value now and had none, -1 the other way round."""
        self._grow(key, new_values, len(new) + (_key_bytes(key) if old is None else -len(old)))
        if tombstones := (old is None) - new_values:
            self.dead.change(key, tombstones)
            if tombstones > 0:
                self.dead.dead_from(key, millis(outline(new)[2]))
        self.sums.change(key, old, new)

    def note_added(self, sums: CopySums, some_key: bytes, values: int, size_bytes: int) -> None:
        """Count objects of one copy that stand in the place of none: each has a value.  `some_key` is one of
        theirs, `size_bytes` are those of all keys, without the copy's prefix, and objects."""
        self._grow(some_key, values, size_bytes)
        self.sums.add_all(sums)

    def note_forgotten(self, key: bytes, old: bytes) -> None:
        """Take an object out of the figures: it is gone."""
        has_value, _, _ = outline(old)
        self._grow(key, -has_value, -_key_bytes(key) - len(old))
        if not has_value:
            self.dead.change(key, -1)
        self.sums.drop(key, old)

    def note_gone(self, held: HeldFigures) -> None:
        """Take these objects out of the figures: they are gone.  Nothing is being counted."""
        if not held.objects:
            return
        self._grow(held.some_key, -held.values, -held.size_bytes)
        if not held.are_exact:  # a count has left those out that it could not decode
            self.sums.forget(held.some_key)
            self.count_again()
            return
        self.dead.change(held.some_key, -held.tombstones)
        self.sums.drop_all(held.sums)

    async def keep_counted(self) -> None:
        """Count what is stored, again whenever `count_again` asks for it, until cancelled."""
        while await self._count_wanted.wait():
            self._count_wanted.clear()
            await self.count_stored()

    def count_again(self) -> None:
        """Count again, because damage has hidden keys and the figures may be wrong."""
        self._count_wanted.set()

    async def count_stored(self) -> None:
        """Count keys and bytes once, in the background; later writes keep them up to date.

        One count at a time.

        A million objects take half a minute, in slices between which requests are served.  What cannot be
        read is left out, and the figures are then too low: they are only for people, so a node must not fail
        for them.
        """
        self._keys.clear()
        self._sizes.clear()
        self._gone.clear()
        self.counted.clear()
        self.counts += 1
        self.dead.clear()
        self.sums.begin()
        unread: list[Unread] = []
        with self._engine.snapshot() as snapshot:  # no await before: later changes count themselves
            async with aclosing(readable_objects(self._engine, snapshot, unread)) as found:
                await self._count(found, unread)
        self.sums.end([(part.start, part.end) for part in unread])
        if unread:
            _log.warning("keys and bytes are counted without what cannot be read: %s", unread[0].error)
        self.counted.set()

    async def _count(self, found: AsyncIterator[tuple[bytes, bytes]], unread: list[Unread]) -> None:
        """The scan itself never waits while its blocks are cached, so the pause is made here."""
        in_slice = 0
        async for key, encoded in found:
            if key[:COPY_PREFIX_BYTES] not in self._gone:
                self._count_one(key, encoded, unread)
            in_slice += 1
            if in_slice == self._options.count_slice:
                in_slice = 0
                await asyncio.sleep(self._options.count_pause_s)

    def _count_one(self, key: bytes, encoded: bytes, unread: list[Unread]) -> None:
        try:
            has_value, expires_at_ms, newest = outline(encoded)
        except RingmillError as error:
            prefix = key[:COPY_PREFIX_BYTES]
            if not unread or unread[-1].start != prefix:
                unread.append(Unread(prefix, prefix_end(prefix), error))
            return
        if not has_value:
            self.dead.change(key, 1)
            self.dead.dead_from(key, millis(newest))
        elif expires_at_ms:
            self.dead.dead_from(key, expires_at_ms)
        self._grow(key, has_value, _key_bytes(key) + len(encoded))
        self.sums.add(key, encoded)

    def _grow(self, key: bytes, values: int, size_bytes: int) -> None:
        prefix = key[:COPY_PREFIX_BYTES]
        self._sizes[prefix] = self._sizes.get(prefix, 0) + size_bytes
        if values:
            self._keys[prefix] = self._keys.get(prefix, 0) + values


def _key_bytes(stored_key: bytes) -> int:
    return len(stored_key) - COPY_PREFIX_BYTES
