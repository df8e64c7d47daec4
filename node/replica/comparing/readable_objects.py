"""Scans the objects of all copies, past what cannot be read.

A scan ends where it meets damage, and does not tell how far that reaches.  So it goes on behind, in parts:
the rest of the partition that it was in, then all others; a part of which not one key could be read is
halved, down to one partition.  What cannot be read costs its own partition, and about thirty short scans.

Rule H10: docs/protocol/repair.md.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from ringmill.cluster.errors import RingmillError
from ringmill.node.replica.stored_key import Kind, kind_prefix, parse_copy, partition_prefix, prefix_end
from ringmill.node.storage.engine import Engine, Snapshot

__all__ = ["Unread", "readable_objects"]

PARTITIONS: Final = 1 << 16  # those of which a key can be
MOST_FAILURES: Final = 128
"""After this number of scans that failed nothing is halved any more, and such a part is given up."""


class Unread(NamedTuple):
    """A range [start, end) of which some or all keys could not be read; `error` says why."""

    start: bytes
    end: bytes
    error: Exception


async def readable_objects(
    engine: Engine, snapshot: Snapshot, unread: list[Unread]
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """The stored keys and objects that can be read, as of a snapshot, in key order.

    What cannot be is added to `unread`, in whole partitions.  Run it to its end or close it.
    """
    parts = [(0, PARTITIONS, _start(0))]  # first and last partition, and where to begin in the first
    failures = 0
    while parts:
        first, last, start = parts.pop()
        reached: bytes | None = None
        try:
            async with aclosing(engine.scan(start, _start(last), snapshot=snapshot)) as scan:
                async for key, encoded in scan:
                    reached = key
                    yield key, encoded
            continue
        except (RingmillError, OSError) as error:
            failure = error
        failures += 1
        if reached is not None:
            here = int(parse_copy(reached).partition)
            behind = [(here + 1, last, _start(here + 1))] if here + 1 < last else []
            parts += [*behind, (here, here + 1, reached + b"\0")]
        elif last - first == 1 or failures >= MOST_FAILURES:
            unread.append(Unread(_start(first), _start(last), failure))
        else:
            middle = (first + last) // 2
            parts += [(middle, last, _start(middle)), (first, middle, start)]


def _start(partition: int) -> bytes:
    """The first key that a partition's objects can have."""
    if partition == PARTITIONS:
        return prefix_end(kind_prefix(Kind.OBJECT))
    return partition_prefix(partition)
