"""What a join does with records: rows of a named column, rows with their side in the key, pairs of rows.

Pure.  A row of the left side travels under the key (key, 1) and one of the right side under (key, 0), so that
of each key the right rows come first.  They are kept while the left rows pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal, Optional, TypeAlias

from ringmill.cluster.mapreduce.api.batches import pairs_of
from ringmill.cluster.mapreduce.api.sources import Branch
from ringmill.cluster.mapreduce.calls import Passing, pairs_over
from ringmill.cluster.mapreduce.codecs.codecs import KeyCodec, ValueCodec, value_codec
from ringmill.cluster.mapreduce.codecs.signatures import Hint, Signature
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown
from ringmill.cluster.mapreduce.footprint import footprint
from ringmill.cluster.ring.hashing import hash_tag

__all__ = [
    "LEFT",
    "RIGHT",
    "ColumnRows",
    "How",
    "JoinedMap",
    "KeyRows",
    "Joining",
    "Merging",
    "SideRows",
    "Strategy",
    "TagRows",
    "TaggedRows",
    "row_codec",
    "rows_of",
]

How: TypeAlias = Literal["inner", "left", "right", "outer"]
Strategy: TypeAlias = Literal["auto", "hash", "merge", "broadcast", "copartitioned"]
Pair: TypeAlias = tuple[Any, Any]

LEFT: Final = 0  # the numbers of the two sources
RIGHT: Final = 1
_FIRST: Final = 0  # in a group
_SECOND: Final = 1
_SAMPLED: Final = 8  # of this number of rows one is measured
_MEASURED: Final = 2  # of them: not the first, as most keys have but one
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Joining:
    """How rows of two sources become pairs."""

    how: How
    left: Branch  # as they were declared: (key, row) of each record
    right: Branch
    result: Callable[..., Iterable[Pair]] | None
    result_signature: Signature  # of the pairs that are written
    strategy: Strategy = "merge"

    @property
    def sides(self) -> tuple[Branch, Branch]:
        """The sources by their numbers."""
        return self.left, self.right

    def keeps(self, side: int) -> bool:
        """Whether rows of a side without a partner are written."""
        return self.how == "outer" or self.how == ("left", "right")[side]

    @property
    def is_by_tag(self) -> bool:
        """Whether both sides are keyspaces that are joined by the hash tags of their keys."""
        return all(isinstance(each.map, TagRows) for each in self.sides)

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The user's own."""
        maps = (each.map.map if isinstance(each.map, TaggedRows) else each.map for each in self.sides)
        return tuple(f for f in (*maps, self.result) if f is not None)

    def written(self, context: Context) -> Callable[[Any, Any, Any], Iterable[Pair]]:
        """What is written of a key and two rows, one of which may be None."""
        result = self.result
        if result is None:
            return _as_they_are
        if self.result_signature.wants_context:
            return lambda key, left, right: result(key, left, right, ctx=context)
        return result


@dataclass(frozen=True, slots=True)
class ColumnRows(Passing):
    """The map of a source that is joined by the name of a column."""

    column: str

    def __call__(self, line: int, row: dict[str, str]) -> Iterator[Pair]:
        return self._keyed([(line, row)])

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        return self._keyed(records)

    def _keyed(self, records: Iterable[Pair]) -> Iterator[Pair]:
        column = self.column
        for _, row in records:
            try:
                yield row[column], row
            except KeyError:
                message = f"there is no column {column!r}; there are {', '.join(row)}"
                raise TaskFailed(Cause.USER_ERROR, message) from None


@dataclass(frozen=True, slots=True)
class KeyRows(Passing):
    """The map of a keyspace that is joined by its keys: key and value as they are."""

    def __call__(self, key: str, value: str) -> tuple[tuple[str, str]]:
        return ((key, value),)

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        return iter(records)


@dataclass(frozen=True, slots=True)
class TagRows(Passing):
    """The map of a keyspace that is joined by the hash tags of its keys: the tag, and the value.

    A key without one fails the task.
    """

    def __call__(self, key: str, value: str) -> tuple[tuple[str, str]]:
        return ((_tag_of(key), value),)

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        return ((_tag_of(key), value) for key, value in records)


@dataclass(frozen=True, slots=True)
class TaggedRows:
    """The map of a keyspace in a co-partitioned join, whose keys have to lie where their records do.

    All keys with one hash tag lie in one partition, in every keyspace.  So a key of the join is the tag of
    its record's key, or has the same tag; what gives another fails the task.
    """

    map: Callable[..., Iterable[Pair]]
    where: str

    def __call__(self, key: Any, value: Any, **context: Any) -> Iterator[Pair]:
        return self._checked(key, self.map(key, value, **context))

    def _checked(self, key: Any, pairs: Iterable[Pair]) -> Iterator[Pair]:
        tag = hash_tag(_as_bytes(key))
        for own, row in pairs:
            joined = _as_bytes(own)
            if tag is None or (joined != tag and hash_tag(joined) != tag):
                raise TaskFailed(
                    Cause.USER_ERROR,
                    f"{self.where} gave the key {shown(own, 100)} for the key {shown(key, 100)} of its "
                    "keyspace: a co-partitioned join finds equal keys in one partition only by the hash tag "
                    "of that key, so its key is that tag or has it; strategy='hash' joins by any key",
                )
            yield own, row


@dataclass(frozen=True, slots=True)
class SideRows(Passing):
    """The map of a source whose rows meet those of the other one in reduce."""

    branch: Branch
    side: int

    def __call__(self, *record: Any, **context: Any) -> Iterator[tuple[Pair, tuple[int, Any, Any]]]:
        return self._sided(rows_of(self.branch, record, context))

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[tuple[Pair, tuple[int, Any, Any]]]:
        return self._sided(_rows_over(self.branch, records, context))

    def _sided(self, rows: Iterable[Pair]) -> Iterator[tuple[Pair, tuple[int, Any, Any]]]:
        if self.side == RIGHT:
            for key, row in rows:
                yield (key, _FIRST), (RIGHT, None, row)
        else:
            for key, row in rows:
                yield (key, _SECOND), (LEFT, row, None)


@dataclass(frozen=True, slots=True)
class Merging(Passing):
    """The reduce: pairs of rows, left by left, each with all of the right."""

    joining: Joining

    def __call__(self, key: Any, rows: Iterable[tuple[int, Any, Any]], ctx: Context) -> Iterator[Pair]:
        return self.over([(key, rows)], ctx)

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        return chain.from_iterable(self._pairs(records, context))

    def _pairs(self, groups: Iterable[Pair], context: Context) -> Iterator[Iterable[Pair]]:
        written, limit = self.joining.written(context), context.memory_bytes
        keeps_left, keeps_right = self.joining.keeps(LEFT), self.joining.keeps(RIGHT)
        for key, rows in groups:
            partners: list[Any] = []
            size, has_left = 0, False
            for side, left, right in rows:
                if side == RIGHT:
                    partners.append(right)
                    if len(partners) % _SAMPLED == _MEASURED:
                        size += _SAMPLED * footprint(right)
                        if size > limit:
                            raise self._too_many(key, len(partners), limit)
                    continue
                has_left = True
                for right in partners:  # noqa: PLW2901 - that of the left row's own is None
                    yield written(key, left, right)
                if keeps_left and not partners:
                    yield written(key, left, None)
            if keeps_right and not has_left:
                for right in partners:
                    yield written(key, None, right)

    def _too_many(self, key: Any, rows: int, limit_bytes: int) -> TaskFailed:
        right = self.joining.right.name
        return TaskFailed(
            Cause.OUT_OF_MEMORY,
            f"{rows} rows of {right} and more have the key {shown(key, 100)}; a join keeps those of one key "
            f"in {limit_bytes / _MIB:g} MiB: let the source with fewer rows a key be the right one, or give "
            "less of each row",
        )


@dataclass(frozen=True, slots=True)
class JoinedMap(Passing):
    """The map of one side where each task has all rows of the other, by their keys.

    `partners` has keys as they are if `keys.plain` is their type, else as bytes.  Keys and rows are written
    as they would come out of a shuffle, by `keys` and `rows`, so that both strategies write the same.
    """

    joining: Joining
    side: int
    partners: dict[Any, list[Any]]
    keys: KeyCodec
    rows: ValueCodec

    def __call__(self, *record: Any, ctx: Context) -> Iterator[Pair]:
        branch = self.joining.sides[self.side]
        given = {"ctx": ctx} if branch.signature.wants_context else {}
        return chain.from_iterable(self._pairs(rows_of(branch, record, given), ctx))

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        rows = _rows_over(self.joining.sides[self.side], records, context)
        return chain.from_iterable(self._pairs(rows, context))

    def _pairs(self, rows: Iterable[Pair], context: Context) -> Iterator[Iterable[Pair]]:
        written, partners_of, is_left = self.joining.written(context), self.partners.get, self.side == LEFT
        plain, encode, decode = self.keys.plain, self.keys.encode, self.keys.decode
        as_received = self.rows.as_received
        unmatched: tuple[Any, ...] = (None,) if self.joining.keeps(self.side) else ()
        for key, row in rows:
            is_plain = type(key) is plain
            alike: Any = key if is_plain else encode(key)
            if found := partners_of(alike, unmatched):
                own, mine = key if is_plain else decode(alike), as_received(row)
                for partner in found:
                    yield written(own, mine, partner) if is_left else written(own, partner, mine)


def row_codec(branch: Branch) -> ValueCodec:
    """How rows of a source cross the shuffle of a join, or would."""
    row: Hint = Optional[branch.signature.out_value]  # noqa: UP045 - a type, not text
    return value_codec(row, branch.signature.where)


def _rows_over(branch: Branch, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
    return pairs_over(branch.map, records, context, wants_context=branch.signature.wants_context)


def rows_of(branch: Branch, record: Sequence[Any], context: dict[str, Any]) -> Iterable[Pair]:
    """What the map of a source gives for a record, or a batch."""
    result = branch.map(*record, **context)
    if branch.is_batch:
        return pairs_of(result, branch.signature.gives, branch.signature.where)
    pairs: Iterable[Pair] = result
    return pairs


def _tag_of(key: str) -> str:
    tag = hash_tag(_as_bytes(key))
    if tag is None:
        raise TaskFailed(
            Cause.USER_ERROR,
            f"the key {shown(key, 100)} of a keyspace has no hash tag, and on='{{tag}}' joins by that: keys "
            "like '{42}:name' have one; on='key' joins by the whole key",
        )
    return tag.decode("utf-8", "surrogateescape")


def _as_bytes(key: Any) -> bytes:
    return key if isinstance(key, bytes) else str(key).encode("utf-8", "surrogateescape")


def _as_they_are(key: Any, left: Any, right: Any) -> tuple[Pair]:
    return ((key, (left, right)),)
