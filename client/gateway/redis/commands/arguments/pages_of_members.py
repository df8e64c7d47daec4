"""HSCAN, SSCAN and ZSCAN: pages of members in an order that changes of the value leave alone.

The order is that of a hash of each member, and a cursor is the least hash of the next page.  So a member that
is there all the time is in one page, whatever is added or removed between two of them, and any gateway goes
on with a cursor of any other.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from typing import Final

from xxhash import xxh3_64_intdigest

from ringmill.client.gateway.redis.commands.arguments.globs import MOST_STEPS, Matching
from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error

__all__ = ["page_of_members"]

_BEHIND_PLACE: Final = 2
"""Bits of a hash that are not of the place, so that a place fits into every caller's cursor."""
LEAST_PAGE: Final = 256
"""Members of a page at least, whatever COUNT says: a page costs a read of the whole value."""


def page_of_members(
    cursor: bytes, options: Sequence[bytes], members: Collection[bytes]
) -> tuple[bytes, list[bytes]]:
    """The next cursor, 0 after the last page, and those of a page that a MATCH among the options matches.

    Raises RedisError.
    """
    begin = one_integer(cursor, "ERR invalid cursor", 0)
    matching, count = None, LEAST_PAGE
    if len(options) % 2:
        raise syntax_error()
    for word, text in zip(options[::2], options[1::2], strict=True):
        if word.upper() == b"MATCH":
            matching = Matching(text, MOST_STEPS)
        elif word.upper() != b"COUNT" or (asked := one_integer(text)) < 1:
            raise syntax_error()
        else:
            count = max(LEAST_PAGE, asked)
    following, page = 0, list(members)
    if begin or len(page) > count:
        following, page = _page(page, begin, count)
    return b"%d" % following, [one for one in page if matching is None or matching.matches(one)]


def _page(members: list[bytes], begin: int, count: int) -> tuple[int, list[bytes]]:
    """Members whose place is `begin` or behind it, and where the next page begins; those at one place are in
    one page."""
    hashes = list(map(xxh3_64_intdigest, members))
    places = [place for place in hashes if place >= begin << _BEHIND_PLACE]
    end = 1 << 64
    if len(places) > count:
        end = (heapq.nsmallest(count, places)[-1] >> _BEHIND_PLACE) + 1 << _BEHIND_PLACE
    page = [
        member for place, member in zip(hashes, members, strict=True) if begin << _BEHIND_PLACE <= place < end
    ]
    return (end >> _BEHIND_PLACE if len(places) > count else 0), page
