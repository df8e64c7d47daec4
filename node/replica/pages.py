"""Pages of one copy: what an owner holds of a key range, in order, for another owner that merges it in.

A page is answered only when this node cannot forget what it shows, and not at all when it may have lost
something of the range itself: then it is no source there.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from cluster.ids import Epoch, PartitionId
from cluster.ports import Incoming, Transport
from node.replica.objects import ObjectStore
from node.replica.packing import check_fields, pack, unpack
from node.replica.routes import Router
from node.replica.stored_key import Copy, copy_prefix, prefix_end
from node.storage.engine import Engine

__all__ = ["PAGE", "PAGE_BYTES", "PAGE_ITEMS", "Page", "PageServing", "ReadPage"]

PAGE: Final = "replica.page"
PAGE_BYTES: Final = 256 * 1024
PAGE_ITEMS: Final = 1000


@dataclass(frozen=True, slots=True)
class ReadPage:
    """What do you hold of this partition from key `start` to before `end` (empty: to its last key)?

    Keys are stored keys without their copy's prefix, which may differ between owners.
    """

    epoch: Epoch
    partition: PartitionId
    start: bytes
    end: bytes

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.start, self.end])

    @classmethod
    def decode(cls, body: bytes) -> ReadPage:
        epoch, partition, start, end = unpack(body, (int, int, bytes, bytes))
        return cls(Epoch(epoch), PartitionId(partition), start, end)


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in key order; `covered_to` is the key where the next page begins, empty when this was all."""

    row_epoch: Epoch
    items: tuple[tuple[bytes, bytes], ...]  # key as in `ReadPage`, object (docs/formats/object.md)
    covered_to: bytes

    def encode(self) -> bytes:
        return pack([self.row_epoch, [list(item) for item in self.items], self.covered_to])

    @classmethod
    def decode(cls, body: bytes) -> Page:
        row_epoch, rows, covered_to = unpack(body, (int, list, bytes))
        items = [check_fields(row, (bytes, bytes)) for row in rows]
        return cls(Epoch(row_epoch), tuple((key, encoded) for key, encoded in items), covered_to)


class PageServing:
    """Answers owners that ask for pages."""

    def __init__(self, router: Router, engine: Engine, objects: ObjectStore) -> None:
        self._router = router
        self._engine = engine
        self._objects = objects

    def serve(self, transport: Transport) -> None:
        """Answer peers from now on."""
        transport.serve(PAGE, self.answer)

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises WrongEpoch when this node is no owner, CorruptData when it may have lost some of it."""
        request = ReadPage.decode(incoming.body)
        row = await self._router.row_of(request.partition, request.epoch, sender=incoming.sender)
        prefix = copy_prefix(Copy(request.partition, row.copy_epoch))
        items, covered_to = await self._read(prefix, request)
        await self._objects.settled()
        return Page(row.row_epoch, tuple(items), covered_to).encode()

    async def _read(self, prefix: bytes, request: ReadPage) -> tuple[list[tuple[bytes, bytes]], bytes]:
        items: list[tuple[bytes, bytes]] = []
        size_bytes = 0
        end = prefix + request.end if request.end else prefix_end(prefix)
        async with aclosing(self._engine.scan(prefix + request.start, end)) as scan:
            async for key, encoded in scan:
                if items and (size_bytes + len(encoded) > PAGE_BYTES or len(items) == PAGE_ITEMS):
                    return items, key[len(prefix) :]
                items.append((key[len(prefix) :], encoded))
                size_bytes += len(encoded)
        return items, b""
