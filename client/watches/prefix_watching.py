"""Watching a prefix: polls that name the keys that have changed, and a read of each of them.

A poll is held by a node until a key has changed on any member.  What it holds is read from its owners, under
a memory of what this watch was told before, so that no key goes back.  Where changes may have been missed,
all keys of the prefix are read again, and what is as it was told is not told again.  Any member can hold a
poll, so each watch begins at another one, and stays where it was answered after a refusal.  Rules N3 and N4:
docs/protocol/watches.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Final

from google.protobuf.message import Message

from ringmill.client.arguments import (
    Key,
    Level,
    Seconds,
    checked_bound,
    checked_flag,
    checked_patience_s,
)
from ringmill.client.kv_requests import read_message, read_options
from ringmill.client.operations import OperationNames
from ringmill.client.routing.attempts import attempt_message
from ringmill.client.routing.links import GET, WATCH_PREFIX
from ringmill.client.routing.router import Router, Target
from ringmill.client.scans.async_scan import AsyncScan, scan_of
from ringmill.client.session_memory import SessionMemory
from ringmill.client.values import CausalContext, PrefixChange, item_of
from ringmill.client.watches.polling import POLL_S, Polling
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import ClusterId
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.cluster.wire.token_text import parsed_token, token_text
from ringmill.cluster.wire.watch_cursor import decode_watch_cursor, encode_watch_cursor

__all__ = ["prefix_changes_of"]

_AT_ONCE: Final = 32
"""Keys read at a time."""
_REMEMBERED: Final = 10_000
"""Keys whose last change is known, so that it is not told twice."""


_MEANWHILE_S: Final = 10.0
"""While all keys are looked at: a feed ends when it is not asked for 120 s."""
_MEANWHILE_POLL_S: Final = 0.5
_MEANWHILE_POLLS: Final = 8
"""One after the other, as long as there are news."""


def prefix_changes_of(
    router: Router,
    operations: OperationNames,
    keyspace: str,
    prefix: Key,
    *,
    after: str | None,
    from_now: bool,
    r: Level | None,
    patience: Seconds,
    opened: Callable[[str], None] | None = None,
) -> AsyncIterator[PrefixChange]:
    """The changes of all keys with a prefix.  A watch `from_now` tells `opened` the cursor of now.

    Raises InvalidArgument at once.
    """
    wanted, cursor = checked_bound("prefix", prefix), _parsed(after)
    if checked_flag("from_now", from_now) and cursor:
        raise InvalidArgument("a cursor knows where it begins: give `after` or `from_now`, not both")
    if cursor and decode_watch_cursor(cursor).prefix != wanted:
        raise InvalidArgument(
            "after is a cursor of another prefix", hint="give the prefix that it was made for"
        )
    read_options(r=r)
    polls = _PrefixPolls(router, operations, keyspace, wanted, r, checked_patience_s(patience))
    return polls.changes(cursor, shows_present=not from_now, opened=opened)


@dataclass(slots=True)
class _Look:
    """One look at all keys of the prefix.

    `cursor` counts once it is over, `owed` until then; `due_at` is when to ask for changes next.  `is_owed`:
    it has to begin once more.
    """

    cursor: bytes
    owed: bytes
    due_at: float
    is_owed: bool = True


class _PrefixPolls:
    """The polls and reads of one watch."""

    def __init__(
        self,
        router: Router,
        operations: OperationNames,
        keyspace: str,
        prefix: bytes,
        level: Level | None,
        patience_s: float,
    ) -> None:
        self._router = router
        self._operations = operations
        self._keyspace = keyspace
        self._prefix = prefix
        self._level = level
        self._options = read_options(r=level)
        self._polling = Polling(router, patience_s)
        self._memory = SessionMemory(ClusterId(""))
        self._order = router.entropy.random_bytes("client.watch.order", 8)  # in which it asks the members
        self._delivered: dict[bytes, bytes] = {}  # the context of what was told last, by key

    async def changes(
        self, cursor: bytes, *, shows_present: bool, opened: Callable[[str], None] | None
    ) -> AsyncIterator[PrefixChange]:
        """The changes from the cursor on; without one all keys with a value first, if `shows_present`."""
        is_first = not cursor
        while True:
            answer = await self._polling.insist(partial(self._poll, cursor))
            before, cursor = cursor, answer.cursor
            if answer.unscanned:
                look = _Look(cursor, answer.unscanned, _now() + _MEANWHILE_S)
                while look.is_owed:
                    look.is_owed = False
                    async for change in self._read_prefix(
                        look, is_first=is_first, shows_present=shows_present
                    ):
                        yield change
                    if is_first and not shows_present and opened is not None:
                        opened(token_text(look.cursor))
                    is_first = False
                cursor = look.cursor
            else:
                found = await self._read_all(answer.keys, is_first=False)
                for change in found[:-1]:
                    yield self._with(change, before)
                for change in found[-1:]:
                    yield self._with(change, cursor)

    async def _read_prefix(
        self, look: _Look, *, is_first: bool, shows_present: bool
    ) -> AsyncIterator[PrefixChange]:
        """What all keys hold, and in between what changes meanwhile."""
        async for page in self._pages(is_first=is_first, shows_present=shows_present):
            waiting = {change.key: change for change in await self._read_all(page, is_first=is_first)}
            while True:
                if waiting:
                    yield self._with(waiting.pop(next(iter(waiting))), look.owed)
                if _now() >= look.due_at:
                    for change in await self._meanwhile(look):
                        waiting.pop(change.key, None)  # older, as it was read before
                        yield self._with(change, look.owed)
                if not waiting:
                    break

    async def _meanwhile(self, look: _Look) -> list[PrefixChange]:
        """Ask for changes from the cursor of a look on, so that its places are not lost before it is over.

        Where they are, there is another look after this one.
        """
        found: dict[bytes, PrefixChange] = {}
        look.due_at = _now() + _MEANWHILE_S
        for _ in range(_MEANWHILE_POLLS):
            answer = await self._polling.attempt(partial(self._poll, look.cursor, _MEANWHILE_POLL_S))
            if answer is None:
                break
            look.cursor = answer.cursor
            look.owed = answer.unscanned or _owed(answer.cursor)
            look.is_owed |= bool(answer.unscanned)
            if not answer.keys:
                break
            found.update((change.key, change) for change in await self._read_all(answer.keys, is_first=False))
        else:
            look.due_at = _now() + _MEANWHILE_POLL_S  # there is more
        return [*found.values()]

    async def _poll(self, cursor: bytes, timeout_s: float = POLL_S) -> kv_pb2.WatchPrefixResponse:
        def request(epoch: int) -> Message:
            return kv_pb2.WatchPrefixRequest(
                keyspace=self._keyspace,
                prefix=self._prefix,
                cursor=cursor,
                epoch=epoch,
                timeout_ms=round(timeout_s * 1000),
            )

        addresses = self._router.directory.addresses(self._place_of)
        return await self._polling.poll(addresses, WATCH_PREFIX, request)

    def _place_of(self, address: str) -> tuple[bool, bytes]:
        """Of a member in the order in which they are asked."""
        return address != self._polling.found, sha256(self._order + address.encode()).digest()

    async def _pages(self, *, is_first: bool, shows_present: bool) -> AsyncIterator[Sequence[bytes]]:
        """All keys of the prefix, but for the first time those without a value too."""
        if is_first and not shows_present:
            return
        scan = scan_of(
            self._keyspace,
            self._router,
            self._operations,
            prefix=self._prefix,
            keys_only=True,
            r=self._level,
            deleted_too=not is_first,
        )
        while page := await self._polling.insist(partial(_next_page, scan)):
            yield page

    async def _read_all(self, keys: Sequence[bytes], *, is_first: bool) -> list[PrefixChange]:
        """What these keys hold, as far as it was not told before; of those without a value not at first."""
        found: list[PrefixChange] = []
        for begin in range(0, len(keys), _AT_ONCE):
            some = keys[begin : begin + _AT_ONCE]
            read = await self._polling.insist(partial(self._read_some, some))
            for change in read:
                token = change.context.token
                before = self._delivered.pop(change.key, None)
                if is_first and change.is_deleted and before is None:
                    continue
                if before != token:
                    found.append(change)
                self._delivered[change.key] = token
                if len(self._delivered) > _REMEMBERED:
                    del self._delivered[next(iter(self._delivered))]
        return found

    async def _read_some(self, keys: Sequence[bytes]) -> Sequence[PrefixChange]:
        return await gather_all(self._read(key) for key in keys)

    async def _read(self, key: bytes) -> PrefixChange:
        """Read a key: nothing that lacks what was told before (rule N2)."""
        options = self._options._replace(seen=self._memory.seen(self._keyspace, key))
        request = read_message(self._keyspace, key, options)

        prepare = partial(attempt_message, request)
        answer = await self._router.ask(GET, prepare, target=Target(self._keyspace, key))
        self._operations.observe(answer.hybrid_time)
        self._memory.note_read(self._keyspace, key, answer, options.seen)
        return PrefixChange(key, item_of(answer), CausalContext(answer.context))

    def _with(self, change: PrefixChange, cursor: bytes) -> PrefixChange:
        return PrefixChange(change.key, change.item, change.context, token_text(cursor))


async def _next_page(scan: AsyncScan) -> list[bytes]:
    return [key for key, _ in await scan.page()]


def _owed(cursor: bytes) -> bytes:
    return encode_watch_cursor(decode_watch_cursor(cursor)._replace(is_scan_owed=True))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _parsed(after: str | None) -> bytes:
    if after is None:
        return b""
    if not isinstance(after, str):
        raise InvalidArgument(f"after is of type {type(after).__name__}; it must be a str, or None")
    try:
        parsed = parsed_token(after)
        decode_watch_cursor(parsed)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"after {after[:40]!r} is not a cursor of a watch: {error.message}",
            hint="pass the cursor of a change, unchanged",
        ) from error
    return parsed
