"""Pages of one copy: lets another owner read what this owner holds in a key range, in order.

Healing and scans ask for them.  A page is sent only when its content is durable on this node, and not at all
when this node may have lost something of the range, because it is then no source (rules H6, L4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData, InvalidArgument, Overloaded, ProtocolMismatch, WrongEpoch
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.os_errors import Meaning, error_text, meaning_of
from ringmill.cluster.ports import Handler, Incoming, Priority, Transport
from ringmill.cluster.ring.topology import Row
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.packing import check_fields, pack, unpack
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.stored_key import Copy, copy_prefix, prefix_end
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.version.snapshots import Snapshot

__all__ = [
    "PAGE",
    "PAGE_BYTES",
    "PAGE_ITEMS",
    "READ_BYTES",
    "Page",
    "PageBody",
    "PageServing",
    "ReadPage",
    "ask_page",
    "ask_page_body",
    "checked_page",
    "read_page",
]

PAGE: Final = "replica.page"
PAGE_BYTES: Final = 256 * 1024
PAGE_ITEMS: Final = 1000
READ_BYTES: Final = 4 << 20
"""Most bytes of objects that one unit of comparing reads (node/repair/exchange.py)."""


@dataclass(frozen=True, slots=True)
class ReadPage:
    """Asks what an owner holds of a partition in [start, end); an empty end has no bound.

    Keys are stored keys without their copy's prefix, which may differ between owners.  The last field of the
    message asked for digests in place of objects, in nodes that compared their copies by such pages.  It
    stays, so that these can still heal and scan with ours.
    """

    epoch: Epoch
    partition: PartitionId
    start: bytes = b""
    end: bytes = b""

    def encode(self) -> bytes:
        return pack([self.epoch, self.partition, self.start, self.end, False])

    @classmethod
    def decode(cls, body: bytes) -> ReadPage:
        """Raises ProtocolMismatch, also for a page of digests: who asks for one compares later, or in
        another way."""
        epoch, partition, start, end, is_brief = unpack(body, (int, int, bytes, bytes, bool))
        if is_brief:
            raise ProtocolMismatch(f"this node answers {PAGE} with objects only, and no digests of them")
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
        items = [(row[0], row[1]) for row in rows if _is_item(row)]
        if len(items) < len(rows):
            items = [(key, encoded) for key, encoded in (check_fields(row, (bytes, bytes)) for row in rows)]
        return cls(Epoch(row_epoch), tuple(items), covered_to)


def _is_item(row: Any) -> bool:
    return type(row) is list and len(row) == 2 and type(row[0]) is bytes is type(row[1])


@dataclass(frozen=True, slots=True)
class PageBody:
    """A page that is not unpacked; `covered_to` as in Page."""

    row_epoch: Epoch
    body: bytes
    covered_to: bytes

    @classmethod
    def of(cls, body: bytes) -> PageBody:
        """Raises ProtocolMismatch for what is no page, but not for wrong items."""
        unpacker = msgpack.Unpacker(None, max_buffer_size=len(body))
        unpacker.feed(body)
        try:
            unpacker.read_array_header()
            row_epoch = unpacker.unpack()
            unpacker.skip()
            row_epoch, covered_to = check_fields([row_epoch, unpacker.unpack()], (int, bytes))
        except (ValueError, msgpack.UnpackException) as error:
            raise ProtocolMismatch(f"a page of {len(body)} bytes does not decode: {error}") from error
        return cls(Epoch(row_epoch), body, covered_to)


class PageServing:
    """Answers owners that ask for pages."""

    def __init__(self, *, routes: Routes, engine: Engine, objects: ObjectStore, most_items: int) -> None:
        self._routes = routes
        self._engine = engine
        self._objects = objects
        self._most_items = most_items

    def handlers(self) -> Mapping[str, Handler]:
        return {PAGE: self.answer}

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises as `page`."""
        page = await self.page(ReadPage.decode(incoming.body), incoming)
        return page.encode()

    async def page(
        self, request: ReadPage, incoming: Incoming, snapshot_of: Callable[[Copy], Snapshot] | None = None
    ) -> Page:
        """What this node holds, or what it held when the snapshot was taken.

        Raises WrongEpoch when this node is not an owner, or the owners change while the page is read;
        InvalidArgument for a range of a keyspace that was dropped, as what is removed would be taken for
        absent (rule P6); CorruptData when it may have lost some of the range; what `snapshot_of` raises.
        """
        row = await self._routes.row_of(request.partition, request.epoch, sender=incoming.sender)
        try:
            copy, most_items = self._routes.copy_of(request.partition, row), min(self._most_items, PAGE_ITEMS)
            snapshot = snapshot_of(copy) if snapshot_of is not None else None
            page = await read_page(self._engine, request, row, copy, most_items, snapshot)
            if snapshot is None and self._objects.gone.covers(request.start, request.end):
                raise InvalidArgument("the keyspace of these keys was dropped")
            if snapshot_of is not None:
                snapshot_of(copy)  # damage that was found meanwhile may be healed by now
        except OSError as error:
            # not Unavailable: other ranges may be read, so the asker need not pass this owner over for all
            kind = Overloaded if meaning_of(error) is Meaning.EXHAUSTED else CorruptData
            raise kind(f"partition {request.partition} cannot be read: {error_text(error)}") from error
        await self._objects.wait_synced(is_urgent=incoming.priority < Priority.REPAIR)
        self._routes.check_row(request.partition, row.row_epoch)  # rule M6
        return page


async def ask_page(
    transport: Transport,
    node: NodeId,
    request: ReadPage,
    row: Row,
    *,
    timeout_s: float,
    priority: Priority = Priority.REPAIR,
) -> Page:
    """Ask an owner for a page.

    Raises what the call raises; WrongEpoch when the owner answered under another row than `row`;
    ProtocolMismatch when the next page would not begin after this one's start.
    """
    body = await ask_page_body(transport, node, request, row, timeout_s=timeout_s, priority=priority)
    return Page.decode(body.body)


async def ask_page_body(
    transport: Transport,
    node: NodeId,
    request: ReadPage,
    row: Row,
    *,
    timeout_s: float,
    priority: Priority = Priority.REPAIR,
) -> PageBody:
    """The next page of a copy, which is not unpacked.  Raises what `ask_page` raises."""
    answer = await transport.call(node, PAGE, request.encode(), timeout_s=timeout_s, priority=priority)
    return checked_page(answer, node, request, row)


def checked_page(answer: bytes, node: NodeId, request: ReadPage, row: Row) -> PageBody:
    """Check a page that a node has answered with.  Raises what `ask_page` raises."""
    page = PageBody.of(answer)
    if page.row_epoch != row.row_epoch:
        raise WrongEpoch(f"{node} answered under row epoch {page.row_epoch}, not {row.row_epoch}")
    if page.covered_to and page.covered_to <= request.start:
        raise ProtocolMismatch(f"{node} answered with a page that does not lead on")
    return page


async def read_page(
    engine: Engine,
    request: ReadPage,
    row: Row,
    copy: Copy,
    most_items: int,
    snapshot: Snapshot | None = None,
) -> Page:
    """What this node holds, synced or not, or what it held when the snapshot was taken.

    Raises CorruptData when it may have lost some of it, OSError.
    """
    prefix = copy_prefix(copy)
    end = prefix + request.end if request.end else prefix_end(prefix)
    items: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    async with aclosing(engine.scan(prefix + request.start, end, snapshot=snapshot)) as scan:
        async for key, encoded in scan:
            size_bytes += len(encoded)
            if items and (size_bytes > PAGE_BYTES or len(items) == most_items):
                return Page(row.row_epoch, tuple(items), key[len(prefix) :])
            items.append((key[len(prefix) :], encoded))
    return Page(row.row_epoch, tuple(items), b"")
