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

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import glob, one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error

__all__ = ["page_of_members"]

LEAST_PAGE: Final = 256
"""Members of a page at least, whatever COUNT says: a page costs a read of the whole value."""


def page_of_members(
    cursor: bytes, options: Sequence[bytes], members: Collection[bytes]
) -> tuple[bytes, list[bytes]]:
    """The next cursor, 0 after the last page, and those of a page that a MATCH among the options matches.

    Raises RedisError.
    """
    begin = one_integer(cursor, "ERR invalid cursor", 0)
    pattern, count = None, LEAST_PAGE
    if len(options) % 2:
        raise syntax_error()
    for word, text in zip(options[::2], options[1::2], strict=True):
        if word.upper() == b"MATCH":
            pattern = glob(text)
        elif word.upper() != b"COUNT" or (asked := one_integer(text)) < 1:
            raise syntax_error()
        else:
            count = max(LEAST_PAGE, asked)
    following, page = 0, list(members)
    if begin or len(page) > count:
        following, page = _page(page, begin, count)
    return b"%d" % following, [one for one in page if pattern is None or pattern.fullmatch(one)]


def _page(members: list[bytes], begin: int, count: int) -> tuple[int, list[bytes]]:
    """Members whose place is `begin` or behind it, and where the next page begins; those at one place are in
    one page."""
    placed = [(_place(member), member) for member in members]
    places = [place for place, _ in placed if place >= begin]
    if len(places) <= count:
        return 0, [member for place, member in placed if place >= begin]
    end = heapq.nsmallest(count, places)[-1]
    return end + 1, [member for place, member in placed if begin <= place <= end]


def _place(member: bytes) -> int:
    """Of 62 bits, so that it fits into every caller's cursor."""
    return xxh3_64_intdigest(member) >> 2
