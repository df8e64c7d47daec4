"""Calls update for each key of a part that has a state or a message, in the order of keys.

Pure.  There are two ways with the same result, as a reduce has them: messages that fit into memory lie in a
dict, and larger ones come as a stream.  States come in blocks in either way, and one block is in memory.

Rule J30: docs/protocol/jobs.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.rendering import BATCH_RECORDS, Rendered

__all__ = ["Updating"]

Columns: TypeAlias = tuple[Sequence[Any], Sequence[Any]]
"""Keys, and the state of each."""
Block: TypeAlias = tuple[list[bytes], Sequence[Any], Sequence[Any]]
"""Encoded keys before them."""

_KEY: Final = itemgetter(0)
_NOTHING: Final[tuple[Any, ...]] = ()


class Updating:
    """Of one reduce attempt.  `keys` counts those that were updated."""

    def __init__(self, job: JobDefinition, context: Context) -> None:
        assert job.update is not None
        assert job.reduce_signature is not None
        wants_context = job.reduce_signature.wants_context
        self._update = partial(job.update, ctx=context) if wants_context else job.update
        self._decode = job.key_codec.decode
        self._types = job.types
        self.keys = 0

    def gathered(self, blocks: Iterable[Block], messages: dict[bytes, Sequence[Any]]) -> Iterator[Rendered]:
        """The new states, where all messages are in memory.  Takes them out of there."""
        return self._rendered(self._by_blocks(blocks, messages))

    def streamed(
        self, blocks: Iterable[Block], messages: Iterator[tuple[bytes, Iterator[Any]]]
    ) -> Iterator[Rendered]:
        """The same where they come by key."""
        return self._rendered(self._one_by_one(blocks, messages))

    def _by_blocks(self, blocks: Iterable[Block], messages: dict[bytes, Sequence[Any]]) -> Iterator[Columns]:
        update, take = self._update, messages.pop
        in_order, at = sorted(messages), 0
        for encoded, keys, states in blocks:
            upto = bisect_right(in_order, encoded[-1], at)
            if upto - at > sum(map(messages.__contains__, encoded)):  # some have no state yet
                with_state = frozenset(encoded)
                new = [
                    (code, self._decode(code), None) for code in in_order[at:upto] if code not in with_state
                ]
                rows = heapq.merge(zip(encoded, keys, states, strict=True), new, key=_KEY)
                encoded, keys, states = map(list, zip(*rows, strict=True))  # noqa: PLW2901
            at = upto
            self.keys += len(keys)
            yield (
                keys,
                [
                    update(key, state, iter(take(code, _NOTHING)))
                    for code, key, state in zip(encoded, keys, states, strict=True)
                ],
            )
        for start in range(at, len(in_order), BATCH_RECORDS):
            rest = in_order[start : start + BATCH_RECORDS]
            keys = list(map(self._decode, rest))
            self.keys += len(keys)
            yield keys, [update(key, None, iter(take(code))) for code, key in zip(rest, keys, strict=True)]

    def _one_by_one(
        self, blocks: Iterable[Block], messages: Iterator[tuple[bytes, Iterator[Any]]]
    ) -> Iterator[Columns]:
        rows = _matched(blocks, messages, self._decode)
        while batch := [
            (key, self._update(key, state, values)) for key, state, values in islice(rows, BATCH_RECORDS)
        ]:
            self.keys += len(batch)
            keys, states = zip(*batch, strict=True)
            yield keys, states

    def _rendered(self, columns: Iterable[Columns]) -> Iterator[Rendered]:
        """Blocks as they are written, of as many records each; a state of None is none."""
        assert self._types is not None
        all_keys: list[Any] = []
        all_states: list[Any] = []
        for keys, states in columns:
            if any(state is None for state in states):
                kept = [(key, state) for key, state in zip(keys, states, strict=True) if state is not None]
                keys, states = [key for key, _ in kept], [state for _, state in kept]  # noqa: PLW2901
            all_keys += keys
            all_states += states
            while len(all_keys) >= BATCH_RECORDS:
                yield (
                    BATCH_RECORDS,
                    self._types.packed_columns(all_keys[:BATCH_RECORDS], all_states[:BATCH_RECORDS]),
                )
                del all_keys[:BATCH_RECORDS], all_states[:BATCH_RECORDS]
        if all_keys:
            yield len(all_keys), self._types.packed_columns(all_keys, all_states)


def _matched(
    blocks: Iterable[Block],
    messages: Iterator[tuple[bytes, Iterator[Any]]],
    decode: Callable[[bytes], Any],
) -> Iterator[tuple[Any, Any, Iterator[Any]]]:
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
