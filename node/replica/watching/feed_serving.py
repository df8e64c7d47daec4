"""Answers nodes that follow the changes of this one: with keys alone, as what they hold is for a read to say.

Rule N4: docs/protocol/watches.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.errors import Overloaded, ProtocolMismatch
from ringmill.cluster.ids import Epoch, KeyspaceId
from ringmill.cluster.ports import Clock, Handler, Incoming
from ringmill.node.replica.packing import pack, unpack
from ringmill.node.replica.stored_key import keyspace_prefix, parse_object_key
from ringmill.node.replica.watching.change_feed import ChangeFeed, FeedPlace

__all__ = ["FEED", "FeedAnswer", "FeedRequest", "FeedServing"]

FEED: Final = "watch.feed"
_MOST_WAITING: Final = 8192
_ANSWER_S: Final = 0.3
_SHORTEST_ANSWER_S: Final = 0.05
"""Room for the answer on its way: a quarter of the time within these, as its place is lost with it."""
_MOST_ORDINAL: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """Asks which keys of a keyspace that begin with `prefix` have changed since a place, and waits for it."""

    keyspace: KeyspaceId
    prefix: bytes
    place: FeedPlace
    wait_ms: int
    most: int

    def encode(self) -> bytes:
        return pack([*self.keyspace, self.prefix, *self.place, self.wait_ms, self.most])

    @classmethod
    def decode(cls, body: bytes) -> FeedRequest:
        """Raises ProtocolMismatch."""
        epoch, ordinal, prefix, feed, number, wait_ms, most = unpack(
            body, (int, int, bytes, bytes, int, int, int)
        )
        if ordinal > _MOST_ORDINAL:  # it becomes the beginning of stored keys
            raise ProtocolMismatch(f"{ordinal} is no ordinal of a keyspace")
        return cls(KeyspaceId(Epoch(epoch), ordinal), prefix, FeedPlace(feed, number), wait_ms, most)


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    keys: tuple[bytes, ...]
    place: FeedPlace
    is_lost: bool

    def encode(self) -> bytes:
        return pack([list(self.keys), *self.place, self.is_lost])

    @classmethod
    def decode(cls, body: bytes) -> FeedAnswer:
        keys, feed, number, is_lost = unpack(body, (list, bytes, int, bool))
        return cls(tuple(bytes(key) for key in keys), FeedPlace(feed, number), is_lost)


class FeedServing:
    def __init__(self, feed: ChangeFeed, clock: Clock) -> None:
        self._feed = feed
        self._clock = clock
        self._waiting = 0

    def handlers(self) -> Mapping[str, Handler]:
        return {FEED: self.answer}

    async def answer(self, incoming: Incoming) -> bytes:
        """Raises Overloaded when too many wait here already."""
        request = FeedRequest.decode(incoming.body)
        if self._waiting >= _MOST_WAITING:
            raise Overloaded(f"{self._waiting} wait for changes of this node, the limit is {_MOST_WAITING}")
        left_s = incoming.deadline - self._clock.boottime()
        left_s -= max(_SHORTEST_ANSWER_S, min(_ANSWER_S, left_s / 4))
        beginning = keyspace_prefix(request.keyspace) + request.prefix
        self._waiting += 1
        try:
            news = await self._feed.after(
                request.place, beginning, max(1, request.most), min(request.wait_ms / 1000, left_s), left_s
            )
        finally:
            self._waiting -= 1
        keys = tuple(parse_object_key(stored).key for stored in news.keys)
        return FeedAnswer(tuple(dict.fromkeys(keys)), news.place, news.is_lost).encode()
