"""Safeguards that watches rely on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ringmill.client.values import PrefixChange
from ringmill.client.watches.prefix_watching import _PrefixPolls
from ringmill.cluster.wire.request_options import ReadOptions
from ringmill.cluster.wire.watch_cursor import decode_watch_cursor, encode_watch_cursor
from ringmill.node.replica.watching.change_feed import ChangeFeed, FeedNews, FeedPlace
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.request_values import ReadRequest, ReadResult, WatchRequest
from ringmill.node.requests.watches.watches import Watches
from ringmill.simulator.options import usual_options
from ringmill.simulator.patching import Ablation, Patches, method

__all__ = ["WATCH_ABLATIONS"]

_CUT: Final = replace(
    usual_options(("watches",)),
    faults=("split_one", "split_halves", "one_way", "flapping", "loss", "slow_link", "crash"),
)


def _from_the_cursor() -> Patches:
    """A watch begins at the moment of its call, wherever its caller had been."""
    watch = Watches.watch

    async def from_now(watches: Watches, request: WatchRequest) -> ReadResult | None:
        first = await watches._read(request, Deadline.after(1.0, watches._clock))
        return await watch(watches, request._replace(after=first.context))

    return (method(Watches.watch, from_now),)


def _cursor_covered() -> Patches:
    async def read_anything(watches: Watches, request: Any, deadline: Any) -> ReadResult:
        options = ReadOptions(request.options.level)
        return await watches._reader.read(
            ReadRequest(request.keyspace, request.key, options, request.epoch, min(5.0, deadline.left_s))
        )

    return (method(Watches._read, read_anything),)


def _all_told() -> Patches:
    """A watcher is told the newest sibling alone, with the context of all."""
    read = Watches._read

    async def newest(watches: Watches, request: WatchRequest, deadline: Deadline) -> ReadResult:
        found = await read(watches, request, deadline)
        return found._replace(siblings=found.siblings[:1])

    return (method(Watches._read, newest),)


def _lost_place() -> Patches:
    """A node goes on from any place, also from one of a start before this one."""
    since = ChangeFeed._since

    async def believe(feed: ChangeFeed, place: FeedPlace, *rest: Any) -> FeedNews:
        news = await since(feed, place, *rest)
        if news.is_lost and place.feed:
            return news._replace(is_lost=False)
        return news

    return (method(ChangeFeed._since, believe),)


def _scan_owed() -> Patches:
    """The cursor of a change says that nothing is owed, though some keys have not been looked at yet."""
    with_cursor = _PrefixPolls._with

    def settled(polls: _PrefixPolls, change: PrefixChange, cursor: bytes) -> PrefixChange:
        place = decode_watch_cursor(cursor)
        return with_cursor(polls, change, encode_watch_cursor(place._replace(is_scan_owed=False)))

    return (method(_PrefixPolls._with, settled),)


WATCH_ABLATIONS: Final = (
    Ablation(
        "watch-from-cursor",
        "a watch begins where its caller had been, and not at its call",
        _from_the_cursor(),
        _CUT,
        rules=("N1",),
    ),
    Ablation(
        "watch-cursor-covered",
        "a watch is told nothing that lacks what its caller has seen",
        _cursor_covered(),
        _CUT,
        rules=("N2",),
    ),
    Ablation(
        "watch-tells-siblings",
        "a watch tells all that it has read, not the newest sibling alone",
        _all_told(),
        rules=("N2",),
    ),
    Ablation(
        "watch-lost-place",
        "where a node's feed began anew, all keys are looked at again",
        _lost_place(),
        replace(_CUT, faults=("crash", "crash_all", "restart", "loss")),
        rules=("N4",),
    ),
    Ablation(
        "watch-scan-owed",
        "a cursor says that keys have not been looked at until all are",
        _scan_owed(),
        rules=("N4",),
    ),
)
