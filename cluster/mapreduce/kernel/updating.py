"""Calls update for each key of a part that has a state or a message, in the order of keys.

Pure.  There are two ways with the same result, as a reduce has them: messages that fit into memory lie in a
dict, and larger ones come as a stream.  States come in blocks in either way.  One block is in memory, and as
many new states, also where messages to any number of keys without a state lie between two states.

Rule J30: docs/protocol/jobs.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter, length_hint
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.rendering import BATCH_RECORDS, Rendered
from ringmill.cluster.mapreduce.footprint import bounded_batches

__all__ = ["Updating"]

Columns: TypeAlias = tuple[Sequence[Any], Sequence[Any]]
"""Keys, and the state of each."""
Block: TypeAlias = tuple[list[bytes], Sequence[Any], Sequence[Any]]
"""Encoded keys before them."""

_Row: TypeAlias = tuple[bytes, Any, Any]
_Matched: TypeAlias = tuple[Any, Any, Iterator[Any]]

_KEY: Final = itemgetter(0)
_NOTHING: Final[tuple[Any, ...]] = ()


class Updating:
    """Of one reduce attempt."""

    def __init__(self, job: JobDefinition, context: Context) -> None:
        assert job.update is not None
        assert job.reduce_signature is not None
        wants_context = job.reduce_signature.wants_context
        self._update = partial(job.update, ctx=context) if wants_context else job.update
        self._decode = job.key_codec.decode
        self._types = job.types
        self._handed: tuple[int, Iterator[Any]] = (0, iter(_NOTHING))  # keys, and those not yet updated
        self.due = 1

    @property
    def keys(self) -> int:
        """How many went to update, with the one that is there."""
        handed, left = self._handed
        return handed - length_hint(left)

    def gathered(
        self, blocks: Iterable[Block], messages: dict[bytes, Sequence[Any]], states: int = 0
    ) -> Iterator[Rendered]:
        """The new states, where all messages are in memory.  Takes them out of there.

        `due` are the keys that there are at least, where the blocks have as many states.
        """
        return self._rendered(self._by_blocks(blocks, messages, states))

    def streamed(
        self, blocks: Iterable[Block], messages: Iterator[tuple[bytes, Iterator[Any]]]
    ) -> Iterator[Rendered]:
        """The same where they come by key."""
        return self._rendered(self._one_by_one(blocks, messages))

    def _by_blocks(
        self, blocks: Iterable[Block], messages: dict[bytes, Sequence[Any]], states_left: int
    ) -> Iterator[Columns]:
        in_order, at, keys_before = sorted(messages), 0, 0
        for encoded, keys, states in blocks:
            upto = bisect_right(in_order, encoded[-1], at)
            new = upto - at - sum(map(messages.__contains__, encoded))
            keys_before, states_left = keys_before + len(keys) + new, states_left - len(keys)
            self.due = keys_before + max(0, states_left, len(in_order) - upto)
            if new:
                with_state = frozenset(encoded)
                without = (code for code in in_order[at:upto] if code not in with_state)
                rows = heapq.merge(zip(encoded, keys, states, strict=True), self._new(without), key=_KEY)
                yield from self._in_batches(rows, messages)
            else:
                yield from self._updated(encoded, keys, states, messages)
            at = upto
        yield from self._in_batches(self._new(islice(in_order, at, None)), messages)

    def _new(self, encoded: Iterable[bytes]) -> Iterator[_Row]:
        return ((code, self._decode(code), None) for code in encoded)

    def _in_batches(self, rows: Iterator[_Row], messages: dict[bytes, Sequence[Any]]) -> Iterator[Columns]:
        while batch := list(islice(rows, BATCH_RECORDS)):
            encoded, keys, states = zip(*batch, strict=True)
            yield from self._updated(encoded, keys, states, messages)

    def _updated(
        self,
        encoded: Sequence[bytes],
        keys: Sequence[Any],
        states: Sequence[Any],
        messages: dict[bytes, Sequence[Any]],
    ) -> Iterator[Columns]:
        update, take, left = self._update, messages.pop, iter(keys)
        self._handed = (self.keys + len(keys), left)  # at once: another thread reads it
        new = (
            update(key, state, iter(take(code, _NOTHING)))
            for code, key, state in zip(encoded, left, states, strict=True)
        )
        at = 0
        for batch in bounded_batches(new, BATCH_RECORDS):
            yield keys[at : at + len(batch)], batch
            at += len(batch)

    def _one_by_one(
        self, blocks: Iterable[Block], messages: Iterator[tuple[bytes, Iterator[Any]]]
    ) -> Iterator[Columns]:
        rows = self._counted(_matched(blocks, messages, self._decode))
        updated = ((key, self._update(key, state, values)) for key, state, values in rows)
        for batch in bounded_batches(updated, BATCH_RECORDS):
            keys, states = zip(*batch, strict=True)
            yield keys, states

    def _counted(self, rows: Iterable[_Matched]) -> Iterator[_Matched]:
        for number, row in enumerate(rows, 1):
            self._handed = (number, iter(_NOTHING))
            yield row

    def _rendered(self, columns: Iterable[Columns]) -> Iterator[Rendered]:
        """Blocks as they are written; a state of None is none."""
        assert self._types is not None
        return self._types.blocks(map(_kept, columns))


def _kept(columns: Columns) -> Columns:
    keys, states = columns
    if not any(state is None for state in states):
        return columns
    kept = [(key, state) for key, state in zip(keys, states, strict=True) if state is not None]
    return [key for key, _ in kept], [state for _, state in kept]


def _matched(
    blocks: Iterable[Block],
    messages: Iterator[tuple[bytes, Iterator[Any]]],
    decode: Callable[[bytes], Any],
) -> Iterator[_Matched]:
    """Key, state and messages of each key that has either."""
    sent = next(messages, None)
    for block in blocks:
        for code, key, state in zip(*block, strict=True):
            while sent is not None and sent[0] < code:
                yield decode(sent[0]), None, iter(sent[1])
                sent = next(messages, None)
            if sent is not None and sent[0] == code:
                yield key, state, iter(sent[1])
                sent = next(messages, None)
            else:
                yield key, state, iter(_NOTHING)
    while sent is not None:
        yield decode(sent[0]), None, iter(sent[1])
        sent = next(messages, None)
