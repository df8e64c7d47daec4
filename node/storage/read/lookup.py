"""Finds one key in the tables of a view: newest tables first, then level by level.

`find` never blocks: it asks the block cache and the page cache and raises NotCached, naming the block,
when the disk is needed.  `find_off_loop` lets a thread read that block and asks again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from ringmill.node.storage.memtable import VersionedValue
from ringmill.node.storage.storage_errors import CorruptBlock, NotCached
from ringmill.node.storage.table.block import Block
from ringmill.node.storage.table.block_cache import BlockCache
from ringmill.node.storage.table.filter import PAIRS, WORD_SHIFT, hash_key
from ringmill.node.storage.table.table_reader import Table
from ringmill.node.storage.version.version_set import View

__all__ = ["BlockNeeded", "find", "find_off_loop", "find_survivor"]


class BlockNeeded(NotCached):
    """The answer needs a block that must be read from the disk."""

    def __init__(self, table: Table, number: int) -> None:
        super().__init__(table.file_id, number)
        self.table = table
        self.number = number


def find(
    view: View, cache: BlockCache, key: bytes, sequence: int, loaded: dict[int, Block] | None = None
) -> VersionedValue | None:
    """The newest version of `key` at or below `sequence` as (sequence, value); a deletion's value is None.

    `loaded` holds blocks by their place in the cache that were read for this very question.
    Raises BlockNeeded, CorruptBlock, OSError.
    """
    hashed = hash_key(key)
    mask = PAIRS[hashed & 4095] | PAIRS[hashed >> 12 & 4095] | PAIRS[hashed >> 24 & 4095]
    word = hashed >> WORD_SHIFT
    # The Bloom filter of each table is tested inline (filter.py): a call would cost as much as the test.
    for table in view.newest:
        words = table.words
        if words[word % len(words)] & mask == mask and table.smallest <= key <= table.largest:
            found = _find_in_table(table, cache, key, sequence, loaded)
            if found is not None:
                return found
    for level in view.levels:
        at = bisect_left(level.largest, key)
        if at < len(level.tables):
            table = level.tables[at]
            words = table.words
            if words[word % len(words)] & mask == mask and table.smallest <= key:
                found = _find_in_table(table, cache, key, sequence, loaded)
                if found is not None:
                    return found
    return None


def _find_in_table(
    table: Table, cache: BlockCache, key: bytes, sequence: int, loaded: dict[int, Block] | None
) -> VersionedValue | None:
    number = bisect_left(table.last_keys, key)
    block = cache.young.get(table.first_place + number) or _load(table, cache, number, loaded)
    found = block.find(key, sequence)
    if found is None:
        table.misses += 1
    return found


def _load(table: Table, cache: BlockCache, number: int, loaded: dict[int, Block] | None) -> Block:
    """A block that the young half of the cache lacks; afterwards it is there."""
    place = table.first_place + number
    block = cache.get(place)
    if block is None:
        block = loaded.get(place) if loaded else None
        if block is None:
            block = table.read_block_cached(number)
            if block is None:
                raise BlockNeeded(table, number)
        cache.put(place, block)
    return block


async def find_off_loop(view: View, cache: BlockCache, key: bytes, sequence: int) -> VersionedValue | None:
    """The newest version of `key` at or below `sequence`, as from `find`; waits for the disk if needed.

    The view has to be pinned.  Raises CorruptBlock, OSError.
    """
    loaded: dict[int, Block] = {}
    while True:
        try:
            return find(view, cache, key, sequence, loaded)
        except BlockNeeded as need:
            place = need.table.first_place + need.number
            loaded[place] = await need.table.read_block_off_loop(need.number)


async def find_survivor(
    view: View, cache: BlockCache, key: bytes, sequence: int, on_damage: Callable[[CorruptBlock], None]
) -> VersionedValue | None:
    """The newest readable version; skips damaged blocks.  The view has to be pinned."""
    for table in _tables_with(view, key):
        try:
            found = await _find_in_table_off_loop(table, cache, key, sequence)
        except CorruptBlock as error:
            on_damage(error)
            continue
        if found is not None:
            return found
    return None


async def _find_in_table_off_loop(
    table: Table, cache: BlockCache, key: bytes, sequence: int
) -> VersionedValue | None:
    try:
        return _find_in_table(table, cache, key, sequence, None)
    except BlockNeeded as need:
        return (await table.read_block_off_loop(need.number)).find(key, sequence)


def _tables_with(view: View, key: bytes) -> Iterator[Table]:
    """Tables whose range contains the key, newest first."""
    yield from (table for table in view.newest if table.smallest <= key <= table.largest)
    for level in view.levels:
        at = bisect_left(level.largest, key)
        if at < len(level.tables) and level.tables[at].smallest <= key:
            yield level.tables[at]
