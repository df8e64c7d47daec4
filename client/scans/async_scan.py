"""Scans: all keys of a keyspace, or those within bounds, page by page.

    async for key, item in db.scan(prefix="user:"): ...

Each page is one request that any node answers, so a scan goes on when nodes die, and costs a node nothing
while nobody reads.  The order is that of the partitions, and within each that of the keys.  Promises:
docs/guarantees.md; rules L1 to L5: docs/protocol/scans.md.
"""

from __future__ import annotations

from collections import deque
from typing import TypedDict

from ringmill.client.arguments import Key, Level, Seconds, checked_bound, checked_flag, checked_most
from ringmill.client.kv_requests import read_options
from ringmill.client.operations import OperationNames
from ringmill.client.routing.links import SCAN
from ringmill.client.routing.router import Router, Target
from ringmill.client.values import CausalContext, Item, ttl_left_s
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.limits import MAX_SCAN_ITEMS
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.scan_cursor import decode_cursor
from ringmill.cluster.wire.stubs.scans_pb2 import ScanItem, ScanPage, ScanRequest
from ringmill.cluster.wire.token_text import parsed_token, token_text

__all__ = ["AsyncScan", "ScanSettings", "scan_of"]


class ScanSettings(TypedDict, total=False):
    """What the caller of `scan` may ask for."""

    prefix: Key
    start: Key | None
    end: Key | None
    limit: int | None
    keys_only: bool
    cursor: str | None
    r: Level | None
    timeout: Seconds | None


class AsyncScan:
    """Iterate over it once: pairs of key and Item.

    An error ends the iteration; beginning another one goes on where it ended, without a gap.
    """

    def __init__(
        self,
        request: ScanRequest,
        options: ReadOptions,
        limit: int | None,
        router: Router,
        operations: OperationNames,
    ) -> None:
        self._request = request
        self._options = options
        self._left = limit
        self._router = router
        self._operations = operations
        self._taken: deque[tuple[bytes, Item]] = deque()
        self._shown = request.cursor  # where the page of `_taken` began
        self._is_last = limit == 0
        self.progress = 0.0
        """How many of the partitions are behind, 0 to 1."""

    @property
    def cursor(self) -> str:
        """Where another scan would go on (`cursor=`); "" before the first page and once all is returned.

        It stands behind the last item once all of a page were taken, as when `limit` has ended the scan, and
        else before the page: a scan that goes on there repeats items of one page and leaves out none.
        """
        place = self._shown if self._taken else self._request.cursor
        return token_text(place)

    def __aiter__(self) -> AsyncScan:
        return self

    async def __anext__(self) -> tuple[bytes, Item]:
        """Raises QuorumNotReached, DeadlineExceeded, Unavailable, InvalidArgument, CorruptData."""
        await self.fill()
        if not self._taken:
            raise StopAsyncIteration
        return self._taken.popleft()

    async def page(self) -> list[tuple[bytes, Item]]:
        """All items of the next page that has any; none at the end."""
        await self.fill()
        taken = list(self._taken)
        self._taken.clear()
        return taken

    async def fill(self) -> None:
        """Take in the next page that has any item, if nothing is left of the last one."""
        while not self._taken and not self._is_last:
            await self._next_page()

    def next_taken(self) -> tuple[bytes, Item] | None:
        """The next item of the page that was taken in; None when nothing is left of it."""
        return self._taken.popleft() if self._taken else None

    async def _next_page(self) -> None:
        limit = MAX_SCAN_ITEMS if self._left is None else min(self._left, MAX_SCAN_ITEMS)

        def prepare(epoch: int, timeout_ms: int, attempt: int) -> ScanRequest:
            message = ScanRequest()
            message.CopyFrom(self._request)
            message.limit, message.epoch, message.timeout_ms = limit, epoch, timeout_ms
            return message

        timeout_s = self._options.timeout_s or None
        page = await self._router.ask(SCAN, prepare, target=self._target(), timeout_s=timeout_s)
        self._operations.observe(page.hybrid_time)
        found = [(item.key, _item_of(item, page)) for item in page.items]
        if self._left is not None:
            self._left -= len(page.items)
        self._shown = self._request.cursor
        self._taken.extend(found)  # before the cursor goes on: another thread may look at both
        self._go_on(page)

    def _target(self) -> Target:
        """An owner of the partition coordinates with one call less; any other node does as well."""
        request = self._request
        if not request.cursor:
            return Target(request.keyspace, request.prefix or request.start)
        return Target(request.keyspace, b"", decode_cursor(request.cursor).partition)

    def _go_on(self, page: ScanPage) -> None:
        request = self._request
        request.prefix = request.start = request.end = b""  # the cursor knows them
        request.cursor = page.cursor
        self._is_last = not page.cursor or self._left == 0
        self.progress = page.partition / max(1, page.partitions) if page.cursor else 1.0


def scan_of(
    keyspace: str,
    router: Router,
    operations: OperationNames,
    *,
    prefix: Key = b"",
    start: Key | None = None,
    end: Key | None = None,
    limit: int | None = None,
    keys_only: bool = False,
    cursor: str | None = None,
    r: Level | None = None,
    timeout: Seconds | None = None,
    deleted_too: bool = False,
) -> AsyncScan:
    """A scan that has not begun; with `deleted_too` also of keys without a value.  Raises InvalidArgument."""
    options = read_options(r=r, timeout=timeout)
    request = ScanRequest(
        keyspace=keyspace,
        prefix=checked_bound("prefix", prefix),
        start=checked_bound("start", start),
        end=checked_bound("end", end),
        cursor=_parsed(cursor),
        keys_only=checked_flag("keys_only", keys_only),
        r=options.level,
        deleted_too=deleted_too,
    )
    if cursor and (request.prefix or request.start or request.end):
        raise InvalidArgument("a cursor knows its prefix, start and end: give the cursor alone")
    return AsyncScan(request, options, checked_most("limit", limit), router, operations)


def _parsed(cursor: str | None) -> bytes:
    if cursor is None:
        return b""
    if not isinstance(cursor, str):
        raise InvalidArgument(f"cursor is of type {type(cursor).__name__}; it must be a str, or None")
    try:
        parsed = parsed_token(cursor)
        if parsed:
            decode_cursor(parsed)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"cursor {cursor[:40]!r} is not a cursor: {error.message}",
            hint="pass scan.cursor of an earlier scan, unchanged",
        ) from error
    return parsed


def _item_of(found: ScanItem, page: ScanPage) -> Item:
    siblings = found.siblings
    return Item(
        siblings=tuple([sibling.value for sibling in siblings]),
        context=CausalContext(found.context),
        dots=tuple([sibling.dot for sibling in siblings]),
        weak=page.weak,
        epoch=page.epoch,
        expiries=tuple([sibling.expires_at_ms / 1000 or None for sibling in siblings]),
        ttls=tuple([ttl_left_s(sibling.expires_at_ms, page.judged_at_ms) for sibling in siblings]),
    )
