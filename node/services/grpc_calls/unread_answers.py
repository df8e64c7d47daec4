"""The answers of plain gRPC calls that wait for their readers: counted before they are made, and for a time.

gRPC keeps an answer until its reader gives room for it, however long that takes; the call is done when all of
the answer has had room.  So a connection has a share of the bytes that may wait, and a call begins when there
is room for its answer, as on the streams of clients.  gRPC for Python cannot end a call whose answer waits:
where one is not read for long, the connection is closed.

Rule O5: docs/protocol/overload.md.
"""

from __future__ import annotations

import asyncio
import logging
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
"""Where this much waits, no further answer is kept, but short ones within the least of their connection."""
LONG_BYTES: Final = 64 << 10
"""A shorter answer is kept where its connection has less than `LEAST_BYTES`, whatever others have."""
WAIT_S: Final = 10.0
"""For room, after which a call is refused, or an answer that was made is left out."""
READ_S: Final = 60.0
"""For an answer, beside what the link takes: `_SLOWEST` bytes a second.  Chosen, not measured."""
SLOW_S: Final = 5.0
"""Before that no connection gives way to another."""
_SLOWEST: Final = 128 << 10
_OVERSHOOT: Final = 4
"""This many times its share may wait for a connection, because the length of answers is guessed."""
_FIRST_GUESS_BYTES: Final = 512 << 10
_ANSWERS_MEANT: Final = 8
"""Over which the length of an answer is averaged."""
_GUESS_S: Final = 0.05
"""While none of the calls that have begun is answered in this time, answers are taken to be half as long, but
not for less than `LONG_BYTES`: that they are slow says little of their length."""
_LOOK_S: Final = 1.0
_GIVE_WAY_S: Final = 0.1
"""Between two looks for who gives way."""

_log = logging.getLogger(__name__)

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
        self._look_from_s = 0.0  # for who gives way
        self.waiting_bytes = 0
        """Handed to gRPC, and not yet given to the connections."""
        self.held_bytes = 0
        """Made, and waiting to be handed to gRPC."""
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

    def may_keep(self, connection: _Connection, size_bytes: int) -> bool:
        """Whether an answer that was made may wait at all.  Who has not read for long gives way."""
        if _is_of_the_least(connection, size_bytes):
            return True
        if self.waiting_bytes + self.held_bytes + size_bytes <= MOST_BYTES:
            return True
        self._make_room()
        return False

    def has_room(self, connection: _Connection, size_bytes: int) -> bool:
        """Whether an answer that may wait may be handed to gRPC."""
        if not connection.waiting_bytes or _is_of_the_least(connection, size_bytes):
            return True
        return connection.waiting_bytes + size_bytes <= _OVERSHOOT * self.share_bytes

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
        """By whom most waits, of those above their share with an answer that has waited for long."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_from_s:
            return
        self._look_from_s = now_s + _GIVE_WAY_S
        slow: dict[str, int] = {}
        for each in self._handed:
            if now_s - each.handed_s < SLOW_S:
                break
            slow[each.peer] = self._connections[each.peer].kept_bytes
        most = max(slow, key=slow.__getitem__, default="")
        if most and slow[most] > self.share_bytes:
            self._close_those({most})

    def _close_those(self, peers: Set[str]) -> None:
        if peers and (self._closing is None or self._closing.done()):
            self._closing = asyncio.ensure_future(self._close_and_tell(peers))

    async def _close_and_tell(self, peers: Set[str]) -> None:
        who = ", ".join(sorted(peers))
        try:
            await self._close(peers)
        except OSError as error:  # no descriptor is free, say; the next look tries again
            _log.warning("connections whose answers are not read cannot be closed (%s): %s", who, error)
            return
        _log.warning(
            "closed connections whose answers are not read, with %d bytes in all: %s", self.waiting_bytes, who
        )


class AnswerPlace:
    """What one call has of the room of its connection."""

    def __init__(self, answers: UnreadAnswers, connection: _Connection, *, holds: bool) -> None:
        self._answers = answers
        self._connection = connection
        self._holds = holds
        self._has_begun = self._has_left = False
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
            raise _no_room(connection, "failed") from late
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

    async def hand(self, size_bytes: int, outcome: str = "unknown") -> None:
        """An answer of this length is about to be given to gRPC.

        Where more was made than there is room for, it waits.  Raises Overloaded, of this outcome, when there
        is none for long, or the node has none.
        """
        connection = self._connection
        connection.note_made(size_bytes)
        self._expect_no_more()
        if not self._answers.may_keep(connection, size_bytes):
            raise _no_room(connection, outcome)
        if connection.held or not self._answers.has_room(connection, size_bytes):
            await self._hold(size_bytes, outcome)
        else:
            self._hand(size_bytes)

    async def _hold(self, size_bytes: int, outcome: str) -> None:
        connection = self._connection
        held = asyncio.get_running_loop().create_future()
        connection.hold(held, size_bytes, self._hand)
        try:
            async with asyncio.timeout(WAIT_S):
                await held
        except TimeoutError as late:
            raise _no_room(connection, outcome) from late
        finally:
            connection.drop(held)

    def _hand(self, size_bytes: int) -> None:
        if self._has_left:
            return
        connection = self._connection
        self._size_bytes = size_bytes
        connection.add(size_bytes)
        self.handed_s = asyncio.get_running_loop().time()
        self.until_s = self.handed_s + READ_S + connection.waiting_bytes / _SLOWEST
        self._answers.hand(self)

    def leave(self, _: object) -> None:
        """The call is done, and its answer has left."""
        self._has_left = True
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
        self.held: dict[asyncio.Future[None], tuple[int, Callable[[int], None]]] = {}
        """Answers that were made and wait for room: their length, and what hands them on.  Oldest first."""
        self._held_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Of answers that were made."""
        return self.waiting_bytes + self._held_bytes

    @property
    def has_room(self) -> bool:
        """One answer always has, where nothing waits and none is expected."""
        taken = self.expected * self._guess_bytes + self.kept_bytes
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

    def hold(self, held: asyncio.Future[None], size_bytes: int, hand: Callable[[int], None]) -> None:
        """An answer waits for room."""
        self.held[held] = (size_bytes, hand)
        self._count_held(size_bytes)

    def drop(self, held: asyncio.Future[None]) -> None:
        """It does so no longer."""
        if held in self.held:
            self._count_held(-self.held.pop(held)[0])

    def _hand_held(self) -> None:
        for held, (size_bytes, hand) in [*self.held.items()]:
            if not self._answers.has_room(self, size_bytes):
                break
            self.drop(held)
            if not held.done():
                hand(size_bytes)
                held.set_result(None)

    def _count_held(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        self._answers.held_bytes += size_bytes

    def line_up(self, place: AnswerPlace) -> None:
        self.queue.append(place)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_GUESS_S, self._guess_less)

    def leave(self) -> None:
        """One call less."""
        self.places -= 1
        if self.places:
            self._hand_held()
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
            self._guess_bytes = min(self._guess_bytes, max(LONG_BYTES, self._guess_bytes // 2))
        self._has_made = False
        self._look = asyncio.get_running_loop().call_later(_GUESS_S, self._guess_less)
        self._begin_waiting()


def _is_of_the_least(connection: _Connection, size_bytes: int) -> bool:
    return size_bytes <= LONG_BYTES and connection.kept_bytes + size_bytes <= LEAST_BYTES


def _no_room(connection: _Connection, outcome: str) -> Overloaded:
    return Overloaded(
        f"there is no room for this answer: {connection.kept_bytes} bytes of answers are on their way to "
        f"this connection, {connection.expected} more are being made",
        hint="ask for less at a time, or read answers as they come",
        detail={"retry_after": 1.0},
        outcome=outcome,
    )
