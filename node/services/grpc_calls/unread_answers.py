"""The answers of plain gRPC calls that wait for their readers: counted before they are made, and for a time.

gRPC keeps an answer until its reader gives room for it, however long that takes; the call is done when all of
the answer has had room.  So a connection has a share of the bytes that may wait, and a call begins when there
is room for its answer, as on the streams of clients.  gRPC for Python cannot end a call whose answer waits:
where one is not read for long, the connection is closed.

Rule O5: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Set
from typing import Final, TypeAlias

import grpc

from ringmill.cluster.errors import Overloaded

__all__ = ["AnswerPlace", "Closing", "UnreadAnswers"]

CONNECTION_BYTES: Final = 8 << 20
"""What may wait and be made at a time for one connection; twice what a reader leaves room for by itself."""
LEAST_BYTES: Final = 256 << 10
"""The same where many connections do not read."""
NODE_BYTES: Final = 64 << 20
"""What these connections share, as long as each has its least."""
MOST_BYTES: Final = 256 << 20
"""Where this much waits no long answer is kept."""
LONG_BYTES: Final = 64 << 10
"""A shorter answer is kept wherever its call has begun."""
WAIT_S: Final = 10.0
"""For room, after which a call is refused."""
READ_S: Final = 60.0
"""For an answer, beside what the link takes: `_SLOWEST` bytes a second.  Chosen, not measured."""
SLOW_S: Final = 5.0
"""Before that no connection gives way to another."""
_SLOWEST: Final = 128 << 10
_OVERSHOOT: Final = 4
"""As many times its share may wait for a connection, as how long answers will be is a guess."""
_FIRST_GUESS_BYTES: Final = 512 << 10
_ANSWERS_MEANT: Final = 8
"""Over which the length of an answer is averaged."""
_GUESS_S: Final = 0.05
"""While none of the calls that have begun is answered in this time, answers are taken to be half as long."""
_LOOK_S: Final = 1.0

Closing: TypeAlias = Callable[[Set[str]], Awaitable[None]]
"""Closes the connections of these peers, as gRPC calls them."""


async def _closes_nothing(_peers: Set[str]) -> None:
    """Where nothing is known of sockets."""


class UnreadAnswers:
    """Those of one node, by the connections that they are for."""

    def __init__(self, close: Closing = _closes_nothing) -> None:
        self._close = close
        self._connections: dict[str, _Connection] = {}
        self._handed: dict[AnswerPlace, None] = {}  # to gRPC; oldest first
        self._look: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None
        self.waiting_bytes = 0
        """Handed to gRPC, and not yet given to the connections."""
        self.unread_connections = 0

    def place(self, context: grpc.aio.ServicerContext, *, holds: bool) -> AnswerPlace:
        """For one call, until it is done.  With `holds` its answer may come late, or never, so none is
        expected."""
        peer = context.peer()
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection(self, peer)
        connection.places += 1
        place = AnswerPlace(self, connection, holds=holds)
        context.add_done_callback(place.leave)
        return place

    @property
    def share_bytes(self) -> int:
        """Of one connection."""
        return min(CONNECTION_BYTES, max(LEAST_BYTES, NODE_BYTES // max(1, self.unread_connections)))

    def has_room(self, connection: _Connection, size_bytes: int) -> bool:
        """Whether an answer that was made may be handed to gRPC.  Who has not read for long gives way."""
        if size_bytes <= LONG_BYTES:
            return True
        if self.waiting_bytes + size_bytes > MOST_BYTES:
            self._make_room()
            return False
        has_any = connection.waiting_bytes > 0
        return not has_any or connection.waiting_bytes + size_bytes <= _OVERSHOOT * self.share_bytes

    def hand(self, place: AnswerPlace) -> None:
        """It waits from now on."""
        self._handed[place] = None
        self._look_later()

    def take(self, place: AnswerPlace) -> None:
        """It waits no longer."""
        self._handed.pop(place, None)

    def forget(self, peer: str) -> None:
        """Nothing is under way for this connection."""
        del self._connections[peer]

    def _look_later(self) -> None:
        if self._look is None and self._handed:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._close_late)

    def _close_late(self) -> None:
        self._look = None
        self._look_later()
        now_s = asyncio.get_running_loop().time()
        self._close_those({each.peer for each in self._handed if now_s >= each.until_s})

    def _make_room(self) -> None:
        """Of the oldest, if that has waited for long."""
        oldest = next(iter(self._handed), None)
        if oldest is not None and asyncio.get_running_loop().time() - oldest.handed_s >= SLOW_S:
            self._close_those({oldest.peer})

    def _close_those(self, peers: Set[str]) -> None:
        if peers and (self._closing is None or self._closing.done()):
            self._closing = asyncio.ensure_future(self._close(peers))


class AnswerPlace:
    """What one call has of the room of its connection."""

    def __init__(self, answers: UnreadAnswers, connection: _Connection, *, holds: bool) -> None:
        self._answers = answers
        self._connection = connection
        self._holds = holds
        self._has_begun = False
        self._is_expected = False
        self._let_in: asyncio.Future[None] | None = None
        self._size_bytes = 0
        self.handed_s = self.until_s = 0.0

    @property
    def peer(self) -> str:
        """Whom the answer is for."""
        return self._connection.peer

    async def enter(self) -> None:
        """Wait until there is room for an answer.  Raises Overloaded: nothing was done."""
        connection = self._connection
        if not connection.queue and connection.has_room:
            self.begin()
            return
        self._let_in = asyncio.get_running_loop().create_future()
        connection.line_up(self)
        try:
            async with asyncio.timeout(WAIT_S):
                await self._let_in
        except TimeoutError as late:
            raise _no_room(connection.waiting_bytes, "failed") from late
        finally:
            if not self._has_begun:
                connection.queue.remove(self)

    def begin(self) -> None:
        """There is room."""
        self._has_begun = True
        if not self._holds:
            self._is_expected = True
            self._connection.expected += 1
        if self._let_in is not None and not self._let_in.done():
            self._let_in.set_result(None)

    def hand(self, size_bytes: int) -> None:
        """An answer of this length is about to be given to gRPC.  Raises Overloaded when there is no room for
        so much, though the call was let in."""
        connection = self._connection
        connection.note_made(size_bytes)
        self._expect_no_more()
        if not self._answers.has_room(connection, size_bytes):
            raise _no_room(connection.waiting_bytes, "unknown")
        self._size_bytes = size_bytes
        connection.add(size_bytes)
        self.handed_s = asyncio.get_running_loop().time()
        self.until_s = self.handed_s + READ_S + connection.waiting_bytes / _SLOWEST
        self._answers.hand(self)

    def leave(self, _: object) -> None:
        """The call is done, and its answer has left."""
        self._expect_no_more()
        self._answers.take(self)
        self._connection.add(-self._size_bytes)
        self._connection.leave()

    def _expect_no_more(self) -> None:
        if self._is_expected:
            self._is_expected = False
            self._connection.expected -= 1


class _Connection:
    def __init__(self, answers: UnreadAnswers, peer: str) -> None:
        self._answers = answers
        self._guess_bytes = _FIRST_GUESS_BYTES
        self._has_made = False
        self._look: asyncio.TimerHandle | None = None
        self.peer = peer
        self.places = 0
        self.expected = 0
        """Answers of calls that have begun."""
        self.waiting_bytes = 0
        self.queue: deque[AnswerPlace] = deque()

    @property
    def has_room(self) -> bool:
        """One answer always has, where nothing waits and none is expected."""
        taken = self.expected * self._guess_bytes + self.waiting_bytes
        return not taken or taken + self._guess_bytes <= self._answers.share_bytes

    def note_made(self, size_bytes: int) -> None:
        """An answer of this length."""
        self._has_made = True
        self._guess_bytes += (size_bytes - self._guess_bytes) // _ANSWERS_MEANT + 1

    def add(self, size_bytes: int) -> None:
        """These bytes wait, or, below 0, do so no longer."""
        had_any = self.waiting_bytes > 0
        self.waiting_bytes += size_bytes
        self._answers.waiting_bytes += size_bytes
        self._answers.unread_connections += (self.waiting_bytes > 0) - had_any

    def line_up(self, place: AnswerPlace) -> None:
        self.queue.append(place)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_GUESS_S, self._guess_less)

    def leave(self) -> None:
        """One call less."""
        self.places -= 1
        if self.places:
            self._begin_waiting()
            return
        if self._look is not None:
            self._look.cancel()
        self._answers.forget(self.peer)

    def _begin_waiting(self) -> None:
        while self.queue and self.has_room:
            self.queue.popleft().begin()

    def _guess_less(self) -> None:
        self._look = None
        if not self.queue:
            return
        if self.expected and not self._has_made:
            self._guess_bytes = self._guess_bytes // 2 + 1
        self._has_made = False
        self._look = asyncio.get_running_loop().call_later(_GUESS_S, self._guess_less)
        self._begin_waiting()


def _no_room(waiting_bytes: int, outcome: str) -> Overloaded:
    return Overloaded(
        f"answers of {waiting_bytes} bytes wait for this connection to read them",
        hint="read answers as they come, or ask for less at a time",
        detail={"retry_after": 1.0},
        outcome=outcome,
    )
