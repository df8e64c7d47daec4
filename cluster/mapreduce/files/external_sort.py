"""Merges sorted streams of groups, at most 64 at a time.

Streams are merged stably: groups of one key come in the order of the streams, which is the order of splits
(or of spills within one), so values of a group keep the order in which map gave them.  When there are more
than 64 streams, neighbours are merged into longer runs first.

I/O only through the FileSystem passed in.  See: docs/formats/run.md, "Order".
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec
from ringmill.cluster.mapreduce.files.run_file import (
    Group,
    RunWriter,
    read_group_lists,
    read_groups,
    read_keys,
    read_pairs,
)
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem

__all__ = [
    "MERGE_FACTOR",
    "merge_group_lists",
    "merge_groups",
    "merge_keys",
    "merge_pairs",
    "merge_slices",
    "narrow",
]

MERGE_FACTOR: Final = 64

_KEY = itemgetter(0)
_VALUES = itemgetter(1)

T = TypeVar("T")
LazyGroup: TypeAlias = tuple[bytes, Iterator[Any]]


def merge_groups(streams: Sequence[Iterable[Group]]) -> Iterator[LazyGroup]:
    """Each key once, with all its values as a lazy stream that the next group ends."""
    merged = streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_KEY)
    for key, pieces in groupby(merged, _KEY):
        yield key, chain.from_iterable(map(_VALUES, pieces))


def merge_slices(slices: Sequence[Slice], values: ValueCodec, files: FileSystem) -> Iterator[Group]:
    """The groups of sorted slices in one sorted stream; a key's groups are neighbours, in slice order."""
    streams = [read_groups(files, each, values) for each in slices]
    return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_KEY)


def merge_keys(slices: Sequence[Slice], values: ValueCodec, files: FileSystem) -> Iterator[list[bytes]]:
    """The keys of sorted slices in one sorted stream of blocks.

    A block is what the chunks at hand hold up to the smallest of their last keys.  It is sorted as a whole,
    which takes far less than comparing one key at a time, as it consists of sorted stretches.
    """
    streams = [read_keys(files, each, values) for each in slices]
    held: list[Sequence[bytes]] = [()] * len(streams)
    while True:
        for number, stream in enumerate(streams):
            while not held[number] and (more := next(stream, None)) is not None:
                held[number] = more
        last = [keys[-1] for keys in held if keys]
        if not last:
            return
        bound = min(last)
        block: list[bytes] = []
        for number, keys in enumerate(held):
            cut = bisect_right(keys, bound)
            block += keys[:cut]
            held[number] = keys[cut:]
        block.sort()
        yield block


def merge_pairs(
    slices: Sequence[Slice], values: ValueCodec, files: FileSystem
) -> Iterator[list[tuple[bytes, Any]]]:
    """The records of sorted slices in one sorted stream of blocks; those of one key in slice order."""
    return _merged_lists([map(list, read_pairs(files, each, values)) for each in slices])


def merge_group_lists(
    slices: Sequence[Slice], values: ValueCodec, files: FileSystem
) -> Iterator[list[Group]]:
    """What `merge_slices` gives, in blocks."""
    return _merged_lists([read_group_lists(files, each, values) for each in slices])


def _merged_lists(streams: Sequence[Iterator[list[tuple[bytes, T]]]]) -> Iterator[list[tuple[bytes, T]]]:
    """Sorted lists of each stream as one sorted stream of blocks; what has one key in the order of streams.

    A block holds what is below the smallest of the last keys at hand.  What has that key comes after it, all
    of one stream before that of the next, as more of it may lie in a later list.
    """
    held: list[list[tuple[bytes, T]]] = [next(stream, []) for stream in streams]
    while last := [items[-1][0] for items in held if items]:
        bound = min(last)
        block: list[tuple[bytes, T]] = []
        for number, items in enumerate(held):
            cut = bisect_left(items, bound, key=_KEY)
            block += items[:cut]
            held[number] = items[cut:]
        block.sort(key=_KEY)
        yield block
        for number, stream in enumerate(streams):
            items = held[number]
            while items and (cut := bisect_right(items, bound, key=_KEY)):
                yield items[:cut]
                items = items[cut:] or next(stream, [])
            held[number] = items


def narrow(
    slices: Sequence[Slice],
    values: ValueCodec,
    files: FileSystem,
    *,
    name_of: Callable[[int], str],
    compression: str,
    factor: int = MERGE_FACTOR,
) -> list[Slice]:
    """At most `factor` slices with the same content, by merging neighbours into runs named by `name_of`.

    Raises OSError and what reading and writing runs raise.
    """
    level, made = list(slices), 0
    while len(level) > factor:
        merged: list[Slice] = []
        for start in range(0, len(level), factor):
            neighbours = level[start : start + factor]
            if len(neighbours) == 1:
                merged += neighbours
                continue
            writer = RunWriter(files, name_of(made), values, compression)
            writer.write_partition(merge_slices(neighbours, values, files))
            (only,) = writer.finish()
            merged.append(Slice(name_of(made), only.offset, only.length, only.raw_bytes, only.records))
            made += 1
        level = merged
    return level
