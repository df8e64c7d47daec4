"""Watching a key: one poll after the other, each held by a node until there is news, with one cursor.

The cursor is the context of the last change.  Whichever node is asked next, it goes on from there, so the
death of the one that holds a poll costs a moment and no change.  Rules N1 to N3: docs/protocol/watches.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

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
from ringmill.client.routing.retries import FIRST_PAUSE_S, LONGEST_PAUSE_S
from ringmill.client.routing.router import Router
from ringmill.client.values import CausalContext, KeyChange, item_of
from ringmill.cluster.errors import (
    CorruptData,
    DeadlineExceeded,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import joined
from ringmill.cluster.wire.stubs import kv_pb2

__all__ = ["ANSWER_S", "PASSING", "PATIENCE_S", "POLL_S", "changes_of"]

POLL_S: Final = 10.0
"""How long a node holds a poll.  One that is stopped by SIGSTOP holds up a change for as long."""
ANSWER_S: Final = 1.0
PATIENCE_S: Final = 60.0

PASSING: Final = (Unavailable, DeadlineExceeded, QuorumNotReached, Overloaded, WrongEpoch, CorruptData)


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
        self._entropy = router.entropy
        self._keyspace = keyspace
        self._key = key
        self._level = level
        self._patience_s = patience_s
        self._tried: list[str] = []  # since a poll was answered last
        self._failing_since: float | None = None

    async def changes(self, cursor: bytes) -> AsyncIterator[KeyChange]:
        while True:
            answer = await self._poll(cursor)
            if answer is None or not answer.HasField("found"):
                continue
            cursor = _next_cursor(cursor, answer)
            item = item_of(answer.found)
            yield KeyChange(self._key, item, CausalContext(cursor))

    async def _poll(self, cursor: bytes) -> kv_pb2.WatchKeyResponse | None:
        """The answer of a node; None when it gave none and another may.  Raises once the patience is over."""
        directory = self._directory
        directory.lifetime.check()
        candidates = directory.addresses_for(self._keyspace, self._key)
        address = min(candidates, key=self._tried.count)
        request = kv_pb2.WatchKeyRequest(
            keyspace=self._keyspace,
            key=self._key,
            after=cursor,
            r=self._level,
            epoch=directory.epoch,
            timeout_ms=round(POLL_S * 1000),
        )
        try:
            answer = await directory.link(address).call(WATCH, request, POLL_S + ANSWER_S)
        except RingmillError as error:
            error.detail.setdefault("address", address)
            if not isinstance(error, PASSING):
                raise
            await self._note_failure(address, error)
            return None
        directory.clear(address)
        self._tried.clear()
        self._failing_since = None
        return answer

    async def _note_failure(self, address: str, error: RingmillError) -> None:
        """Wait a moment before the next node is asked.  Raises the error once the patience is over."""
        directory, now = self._directory, asyncio.get_running_loop().time()
        directory.lifetime.check()  # a closed client goes on nowhere
        sometimes("a watch goes on at another node")
        self._tried.append(address)
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since >= self._patience_s:
            raise error
        if isinstance(error, WrongEpoch):
            await directory.refresh(address, POLL_S)
        elif isinstance(error, Unavailable | DeadlineExceeded) and not error.was_told:
            directory.blame(address)
        bound = min(FIRST_PAUSE_S * float(2 ** min(len(self._tried), 10)), LONGEST_PAUSE_S)
        await asyncio.sleep(bound * self._entropy.uniform("client.watch"))


def _next_cursor(cursor: bytes, answer: kv_pb2.WatchKeyResponse) -> bytes:
    """All that the changes until now have shown (rule N2)."""
    return joined(cursor, answer.found.context)[0]
