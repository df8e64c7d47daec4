"""Checked and decompressed blocks in memory, bounded.

It has two generations instead of an LRU list: a hit costs one dict lookup and changes nothing.  When the
young generation is full it becomes the old one, and the previous old one is dropped.
"""

from __future__ import annotations

from ringmill.node.storage.table.block import Block

__all__ = ["BlockCache"]


class BlockCache:
    """Blocks by (file id << 32 | block number), `capacity_bytes` of them at most in both generations."""

    __slots__ = ("_half_bytes", "_young_bytes", "hits", "misses", "old", "young")

    def __init__(self, capacity_bytes: int) -> None:
        self._half_bytes = capacity_bytes // 2
        self._young_bytes = 0
        self.young: dict[int, Block] = {}
        self.old: dict[int, Block] = {}
        self.hits = 0
        self.misses = 0

    def get(self, place: int) -> Block | None:
        block = self.young.get(place)
        if block is None:
            block = self.old.get(place)
            if block is None:
                self.misses += 1
                return None
            self.put(place, block)
        self.hits += 1
        return block

    def put(self, place: int, block: Block) -> None:
        size = block.size_bytes
        if self._young_bytes + size > self._half_bytes:
            self.old, self.young, self._young_bytes = self.young, {}, 0
        if size <= self._half_bytes:
            self.young[place] = block
            self._young_bytes += size
