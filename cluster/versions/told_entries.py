"""What a context token names of an object that more starts have written than a token has room for.

It names the writers of the siblings, and of each node the newest starts.  A token that names less replaces
less, so no write is lost by it.  Who holds all siblings' dots holds all that they have replaced: so a session
or a watch that goes on with it misses nothing.  Pure.  Rule V12: docs/protocol/versions.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from heapq import nlargest
from typing import Any, Final

from ringmill.cluster.limits import MAX_CONTEXT_ACTORS, MAX_CONTEXT_BYTES

__all__ = ["MOST_TOLD", "told_entries"]

MOST_TOLD: Final = 500
"""Actors of a context up to which a token names them all: three such tokens have room in one."""
_COUNT_BYTES: Final = 12  # of an entry besides its actor
_ROOM_BYTES: Final = MAX_CONTEXT_BYTES - 256  # for what a token has besides its entries

_Entry = Sequence[Any]  # actor, counter


def told_entries(entries: Sequence[_Entry], writers: Collection[str]) -> list[_Entry]:
    """The entries of a context to be named, in order.  `writers`: the actors of the object's siblings."""
    of_siblings, of_nodes = list[_Entry](), defaultdict[str, list[_Entry]](list)
    for entry in entries:
        node, _ = _node_and_start(entry[0])
        (of_siblings if entry[0] in writers else of_nodes[node]).append(entry)
    share = max(1, MOST_TOLD // max(1, len(of_nodes)))
    newest = [nlargest(share, of_node, key=_start) for of_node in of_nodes.values()]
    chosen, room = list[_Entry](), _ROOM_BYTES
    for most, told in ((MAX_CONTEXT_ACTORS, nlargest(MAX_CONTEXT_ACTORS, of_siblings, key=_start)),
                       (MOST_TOLD, [entry for of_node in newest for entry in of_node])):  # fmt: skip
        for entry in told:
            room -= len(entry[0]) + _COUNT_BYTES
            if room < 0 or len(chosen) >= most:
                break
            chosen.append(entry)
    return sorted(chosen, key=lambda entry: str(entry[0]))


def _start(entry: _Entry) -> int:
    return _node_and_start(entry[0])[1]


@lru_cache(8192)
def _node_and_start(actor: str) -> tuple[str, int]:
    """Of "n1#7.9f31c0aa52"; a forged one may be anything."""
    node, _, start = actor.partition("#")
    number = start.partition(".")[0]
    return node, int(number) if number.isdecimal() and len(number) < 20 else 0
