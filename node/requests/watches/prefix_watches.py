"""Watches of a prefix: a call that waits until any of its keys has changed on any member.

Every member is asked at the same time what has changed on it since the place that the cursor names.  The
first that knows of something ends the wait.  What the keys hold is for reads of the caller to say.  A place
that a member does not know, as after its start, means that changes may have been missed: then the caller has
to look at all keys (rules N3 and N4: docs/protocol/watches.md).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument, QuorumNotReached, RingmillError, reason_of
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.limits import MAX_KEY_BYTES
from ringmill.cluster.ports import Clock, Priority, Transport
from ringmill.cluster.ring.topology import KeyspaceEntry, Topology
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.watch_cursor import WatchCursor, decode_watch_cursor, encode_watch_cursor
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.routes import Routes
from ringmill.node.replica.watching.change_feed import FeedPlace
from ringmill.node.replica.watching.feed_serving import FEED, FeedAnswer, FeedRequest
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.request_limits import time_allowed
from ringmill.node.requests.request_values import ANY_EPOCH
from ringmill.node.requests.watches.held_watches import HeldWatches

__all__ = ["PrefixNews", "PrefixRequest", "PrefixWatches"]

_MOST_KEYS: Final = 256
_BEGIN_S: Final = 1.0  # for a member to tell its first place
_TOGETHER_S: Final = 0.02  # the owners of a key apply a change at nearly the same time
_AGAIN_S: Final = 0.5
_ANSWER_S: Final = 0.3
_FIRST_ANSWER_S: Final = 1.0  # costs nothing where a member answers soon, and brings those far away
_SHORTEST_S: Final = 0.05


class PrefixRequest(NamedTuple):
    """With a `cursor` it goes on there, and the prefix is that of the cursor."""

    keyspace: str
    prefix: bytes = b""
    cursor: bytes = b""
    options: ReadOptions = ReadOptions()
    epoch: Epoch = ANY_EPOCH
    left_s: float | None = None
    connection: str = ""


class PrefixNews(NamedTuple):
    """Keys that have changed, each once.  With `unscanned` all keys have to be looked at before `cursor`
    counts; until then that one is the place to go on from."""

    keys: tuple[bytes, ...]
    cursor: bytes
    unscanned: bytes
    epoch: Epoch


@dataclass(slots=True)
class _Heard:
    """What came of one poll: news by node, how far those who have answered had none, and why others did
    not answer."""

    news: dict[NodeId, FeedAnswer] = field(default_factory=dict)
    quiet: dict[NodeId, FeedPlace] = field(default_factory=dict)
    failures: dict[NodeId, str] = field(default_factory=dict)


class PrefixWatches:
    def __init__(
        self,
        *,
        routes: Routes,
        transport: Transport,
        held: HeldWatches,
        clock: Clock,
        options: RequestOptions,
    ) -> None:
        self._routes = routes
        self._transport = transport
        self._held = held
        self._clock = clock
        self._options = options

    async def poll(self, request: PrefixRequest) -> PrefixNews:
        """What has changed since the cursor, as soon as there is something; nothing when time is up.

        Raises InvalidArgument, WrongEpoch, Unavailable, Overloaded; QuorumNotReached when so few owners of
        some partition have answered that a write which was acknowledged may be among the others.
        """
        if len(request.prefix) > MAX_KEY_BYTES:
            raise InvalidArgument(
                f"the prefix has {len(request.prefix)} bytes, the limit is {MAX_KEY_BYTES} bytes"
            )
        deadline = Deadline.after(time_allowed(request.options.timeout_s, request.left_s), self._clock)
        topology, keyspace = await self._routes.objects_named(
            request.keyspace, request.epoch, deadline.left_s
        )
        cursor = _begun(request, keyspace)
        if cursor.is_scan_owed:
            return _owed(cursor, topology.epoch)
        heard = _Heard()
        with self._held.holding(request.connection) as woken:
            await self._listen(cursor, topology, heard, woken, deadline)
        self._held.check()
        if not heard.news:
            _check_heard(topology, keyspace, heard)
        return _told(cursor, heard, topology)

    async def _listen(
        self,
        cursor: WatchCursor,
        topology: Topology,
        heard: _Heard,
        woken: asyncio.Event,
        deadline: Deadline,
    ) -> None:
        """Follow all members until one has news; at the beginning until all have told their places."""
        follows = [
            asyncio.create_task(self._follow(member.id, cursor, heard, deadline), name="watch-member")
            for member in topology.members
        ]
        stopping = asyncio.create_task(woken.wait(), name="watch-stopping")
        try:
            if cursor.places:
                await asyncio.wait(
                    [*follows, stopping], timeout=_listening_s(deadline), return_when=asyncio.FIRST_COMPLETED
                )
                left_s = _listening_s(deadline)
                is_over = heard.news or woken.is_set()
                await asyncio.wait(follows, timeout=min(_TOGETHER_S, left_s) if is_over else left_s)
            else:
                await asyncio.wait(follows, timeout=min(_BEGIN_S, _listening_s(deadline)))
        finally:
            for task in (*follows, stopping):
                task.cancel()
            await asyncio.gather(*follows, stopping, return_exceptions=True)
        for task in follows:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _follow(self, node: NodeId, cursor: WatchCursor, heard: _Heard, deadline: Deadline) -> None:
        """Ask one member until it has news or time is up, once at least; one that fails is asked again after
        a moment.

        It does not wait with its first answer, so that its place goes on also where others have news soon.
        That one shows how far away the member is.
        """
        place = FeedPlace(*cursor.places.get(node, FeedPlace()))
        is_asked = False
        answer_s = min(_FIRST_ANSWER_S, max(_ANSWER_S, deadline.left_s / 2))
        while (left_s := deadline.left_s - answer_s) > _SHORTEST_S or not is_asked:
            wait_s = max(0.0, min(self._options.watch_again_s, left_s)) if is_asked else 0.0
            asked = FeedRequest(cursor.keyspace, cursor.prefix, place, round(wait_s * 1000), _MOST_KEYS)
            began_s, is_asked = self._clock.boottime(), True
            try:
                body = await self._transport.call(
                    node, FEED, asked.encode(), timeout_s=wait_s + answer_s, priority=Priority.READ
                )
                answer = FeedAnswer.decode(body)
            except RingmillError as error:
                heard.failures[node] = reason_of(error)
                await asyncio.sleep(_AGAIN_S)
                continue
            if not wait_s:
                answer_s = max(_ANSWER_S, 2 * (self._clock.boottime() - began_s))
            if answer.keys or answer.is_lost:
                heard.news[node] = answer
                return
            place = heard.quiet[node] = answer.place


def _listening_s(deadline: Deadline) -> float:
    """How long answers count that members were asked for until `_ANSWER_S` before the end."""
    return max(0.0, deadline.left_s - _ANSWER_S / 2, deadline.left_s / 2)


def _begun(request: PrefixRequest, keyspace: KeyspaceEntry) -> WatchCursor:
    """Raises InvalidArgument for a cursor that is not of this watch."""
    if not request.cursor:
        return WatchCursor(keyspace.id, request.prefix, is_scan_owed=False, places={})
    cursor = decode_watch_cursor(request.cursor)
    if cursor.keyspace != keyspace.id:
        raise InvalidArgument("the cursor is of another keyspace", hint="watch from the beginning")
    if request.prefix and request.prefix != cursor.prefix:
        raise InvalidArgument("the cursor is of another prefix", hint="give the cursor alone")
    return cursor


def _told(cursor: WatchCursor, heard: _Heard, topology: Topology) -> PrefixNews:
    """Where a place was lost nothing but that is told: a look at all keys finds the other news, too.

    The places of members without news go on: who stays where it was is soon too far behind to be told.

    Former members have no place any more.  One that is back has none, which is one that was lost.
    """
    lost = {node: answer for node, answer in heard.news.items() if answer.is_lost}
    if lost and cursor.places:
        sometimes("a watch of a prefix looks at all its keys again")
    places = dict(cursor.places)
    places.update((node, place) for node, place in heard.quiet.items())
    places.update((node, answer.place) for node, answer in (lost or heard.news).items())
    moved = cursor._replace(
        places={member.id: places[member.id] for member in topology.members if member.id in places}
    )
    if lost:
        return _owed(moved, topology.epoch)
    keys = tuple(dict.fromkeys(key for answer in heard.news.values() for key in answer.keys))
    return PrefixNews(keys, encode_watch_cursor(moved), b"", topology.epoch)


def _owed(cursor: WatchCursor, epoch: Epoch) -> PrefixNews:
    settled, owed = cursor._replace(is_scan_owed=False), cursor._replace(is_scan_owed=True)
    return PrefixNews((), encode_watch_cursor(settled), encode_watch_cursor(owed), epoch)


def _check_heard(topology: Topology, keyspace: KeyspaceEntry, heard: _Heard) -> None:
    """Raises QuorumNotReached unless one of any w owners of each partition was heard."""
    for row in {row.whole: row for row in topology.rows}.values():
        needed = row.size - row.level(keyspace.w) + 1
        answered = [node for node in row.whole if node in heard.quiet]
        if len(answered) < needed:
            failed: dict[str, str] = {
                node: heard.failures.get(node, "no answer yet") for node in row.whole if node not in answered
            }
            raise QuorumNotReached.of("watch", needed, answered, failed, outcome="failed")
