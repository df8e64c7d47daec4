"""Watching a key: one poll after the other, each held by a node until there is news, with one cursor.

The cursor is the context of the last change.  Whichever node is asked next, it goes on from there, so the
death of the one that holds a poll costs a moment and no change.  Rules N1 to N3: docs/protocol/watches.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from google.protobuf.message import Message

from ringmill.client.arguments import (
    ContextLike,
    Key,
    Level,
    Seconds,
    checked_context,
    checked_key,
    checked_level,
    checked_patience_s,
)
from ringmill.client.routing.links import WATCH
from ringmill.client.routing.router import Router
from ringmill.client.values import CausalContext, KeyChange, item_of
from ringmill.client.watches.polling import POLL_S, Polling
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = ["changes_of"]


def changes_of(
    router: Router,
    keyspace: str,
    key: Key,
    after: ContextLike | None,
    r: Level | None,
    patience: Seconds,
) -> AsyncIterator[KeyChange]:
    """The changes of a key from `after` on.  Raises InvalidArgument at once."""
    context = checked_context(after)
    cursor = context.token if context is not None else b""
    polls = _Polls(router, keyspace, checked_key(key), checked_level("r", r), checked_patience_s(patience))
    return polls.changes(cursor)


class _Polls:
    """The polls of one watch."""

    def __init__(self, router: Router, keyspace: str, key: bytes, level: str, patience_s: float) -> None:
        self._directory = router.directory
        self._keyspace = keyspace
        self._key = key
        self._level = level
        self._polling = Polling(router, patience_s)

    async def changes(self, cursor: bytes) -> AsyncIterator[KeyChange]:
        while True:
            answer = await self._polling.insist(partial(self._poll, cursor))
            if not answer.HasField("found"):
                continue
            cursor = answer.found.context  # it covers the former one, or what it lacks is forgotten (N2, P3)
            item = item_of(answer.found)
            yield KeyChange(self._key, item, CausalContext(cursor))

    async def _poll(self, cursor: bytes) -> kv_pb2.WatchKeyResponse:
        def request(epoch: int) -> Message:
            return kv_pb2.WatchKeyRequest(
                keyspace=self._keyspace,
                key=self._key,
                after=cursor,
                r=self._level,
                epoch=epoch,
                timeout_ms=round(POLL_S * 1000),
            )

        return await self._polling.poll(
            self._directory.addresses_for(self._keyspace, self._key), WATCH, request
        )
