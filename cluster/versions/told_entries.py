"""What a context token names of an object that more starts have written than a token has room for.

It names the writers of the siblings, and of each node the newest starts.  A token that names less replaces
less, so no write is lost by it.  Who holds all siblings' dots holds all that they have replaced: so a session
or a watch that goes on with it misses nothing.  Pure.  Rule V12: docs/protocol/versions.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final

from ringmill.cluster.limits import MAX_CONTEXT_ACTORS, MAX_CONTEXT_BYTES

__all__ = ["MOST_TOLD", "told_entries"]

MOST_TOLD: Final = 500
"""Actors of a context up to which a token names them all: three such tokens have room in one.  Of more it
names no fewer than that."""
_COUNT_BYTES: Final = 12  # of an entry besides its actor
_ROOM_BYTES: Final = MAX_CONTEXT_BYTES - 256  # for what a token has besides its entries

_Entry = Sequence[Any]  # actor, counter


def told_entries(
    entries: Sequence[_Entry], writers: Sequence[str], owners: Collection[str] = ()
) -> list[_Entry]:
    """The entries of a context to be named, in order.

    `writers` are the actors of the object's siblings, newest first.  What the last of very many have written
    nobody has changed for long.  The starts of the present `owners` come before those of former ones.
    """
    by_actor = {entry[0]: entry for entry in entries}
    of_siblings = {actor: by_actor[actor] for actor in writers if actor in by_actor}
    others = _newest_first([entry for entry in entries if entry[0] not in of_siblings], owners)
    chosen, room = list[_Entry](), _ROOM_BYTES
    for most, candidates in ((MAX_CONTEXT_ACTORS, of_siblings.values()), (MOST_TOLD, others)):
        for entry in islice(candidates, max(0, most - len(chosen))):
            room -= len(entry[0]) + _COUNT_BYTES
            if room < 0:
                break
            chosen.append(entry)
    return sorted(chosen, key=lambda entry: str(entry[0]))


def _newest_first(entries: Sequence[_Entry], owners: Collection[str]) -> list[_Entry]:
    """The entries in turns: an equal share from each node, and then what is left of each."""
    of_nodes = defaultdict[str, list[_Entry]](list)
    for entry in entries:
        of_nodes[_node_and_start(entry[0])[0]].append(entry)
    share = max(1, MOST_TOLD // max(1, len(of_nodes)))
    by_node = [
        sorted(of_node, key=_start, reverse=True)
        for node, of_node in sorted(of_nodes.items(), key=lambda each: (each[0] not in owners, each[0]))
    ]
    shares = [of_node[:share] for of_node in by_node]
    return list(chain(*shares, *(of_node[share:] for of_node in by_node)))


def _start(entry: _Entry) -> int:
    return _node_and_start(entry[0])[1]


@lru_cache(8192)
def _node_and_start(actor: str) -> tuple[str, int]:
    """The two parts of "n1#7.9f31c0aa52"; a forged one may be anything."""
    node, _, start = actor.partition("#")
    number = start.partition(".")[0]
    return node, int(number) if number.isdecimal() and len(number) < 20 else 0
