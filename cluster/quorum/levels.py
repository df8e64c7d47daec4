"""Levels: how many owners a request waits for.

Counted from a row's owners, which are fewer than the cluster's N while it has fewer members
(rule T6; docs/guarantees.md, "Levels").
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["holders_for_a_strict_read", "level_that_meets_all", "majority", "parse_level"]

MAX_LEVEL_TEXT: Final = 16


def parse_level(text: str, owners: int, default: int) -> int:
    """The number of owners that a level means for a row of `owners`.

    A level is "one", "quorum", "all" or a number; "" is the keyspace's default, at most the number of owners.
    Raises InvalidArgument for any other text and for a number that the row cannot meet.
    """
    assert owners > 0, "a row without owners"
    if text == "":
        return min(default, owners)
    named = {"one": 1, "quorum": majority(owners), "all": owners}
    if text in named:
        return named[text]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_LEVEL_TEXT):
        raise InvalidArgument(
            f"{text[:40]!r} is not a level; use one, quorum, all or a number from 1 to {owners}"
        )
    level = int(text)
    if not 1 <= level <= owners:
        raise InvalidArgument(
            f"level {level} cannot be met: this key has {owners} owners, so use 1 to {owners}"
        )
    return level


def majority(owners: int) -> int:
    """More than half."""
    return owners // 2 + 1


def level_that_meets_all(owners: int, default_r: int, default_w: int) -> int:
    """The number of owners among which there is one of every write at W, and one that holds what any read
    showed that was not weak: both are held by enough owners for that (rules S3 and G2)."""
    return max(min(default_r, owners), owners - min(default_w, owners) + 1)


def holders_for_a_strict_read(owners: int, default_r: int) -> int:
    """The number of owners that must hold the result of a strict read: N - R + 1.

    Then no later read of R owners can miss it, so reads never go backwards (rule G2).  They are R or fewer
    when R is a majority; else a read of R owners finds out of too few, and is weak.
    """
    return owners - min(default_r, owners) + 1
