"""Joins rows of two sources that came unsorted: one side is held in a dict, the other streams past it.

The side with fewer rows is held, of equal ones the right.  Its rows may take as much memory as the
buffer of a task, told from their bytes as they travel.  When they would take more, both sides are first cut
by a second hash of their keys, in files of the task, and the pieces are joined one after the other.  A piece
that is still too large, as many rows have one key, is held block by block, and the other side streams past
each, with a byte kept for each of its rows.  So no number of rows a key fails a task.

The order of the pairs follows from the rows, their splits and the buffer's size alone, never from the memory
of one attempt: rows of the streamed side in the order of their input, each with its partners in the order of
theirs, then those rows of the held side that have none, key after key as keys first came; piece by piece.

I/O only through the FileSystem passed in.  Rule J31: docs/protocol/jobs.md.  Layout: docs/formats/job.md,
"Joins".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Final, TypeAlias

from xxhash import xxh3_64_intdigest

from ringmill.cluster.mapreduce.api.joining.join_steps import LEFT, RIGHT, Joining, row_codec
from ringmill.cluster.mapreduce.codecs.codecs import KeyCodec, ValueCodec, key_codec
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.run_file import RowBlock, RunWriter, read_mark, read_rows_of
from ringmill.cluster.mapreduce.footprint import BLOWUP
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["MARKS", "HashJoin"]

Pair: TypeAlias = tuple[Any, Any]
Partners: TypeAlias = dict[Any, tuple[Any, list[Any]]]
"""Keys that are held, each as the result gets it and with its rows."""
Told: TypeAlias = Callable[[int], None]

MARKS: Final = (b"left", b"right")
"""What a stretch of rows begins with, by the number of their side: docs/formats/run.md."""
MOST_PIECES: Final = 64
_SPARE: Final = 5 / 4  # more pieces than would just fit, as keys do not spread evenly
_SECOND_SEED: Final = 1  # of the hash that cuts: all keys of a part are alike in the first


@dataclass(slots=True)
class _Side:
    """The rows of one source in a part, or in a piece of it."""

    number: int
    rows: ValueCodec
    slices: list[Slice]

    @property
    def raw_bytes(self) -> int:
        return sum(each.raw_bytes for each in self.slices)

    @property
    def records(self) -> int:
        return sum(each.records for each in self.slices)


class HashJoin:
    """One join of a task; used once."""

    def __init__(
        self,
        joining: Joining,
        *,
        files: FileSystem,
        folder: str,
        memory_bytes: int,
        compression: str,
        context: Context,
        held: int | None = None,
    ) -> None:
        """`memory_bytes` is that of the job's description: a retry with more memory cuts as the first try.
        `held` is the side to hold, whichever has fewer rows."""
        self._joining, self._to_hold = joining, held
        self._files, self._folder, self._compression = files, folder, compression
        self._most_bytes = max(1, memory_bytes // BLOWUP)
        self._written = joining.written(context)
        left = joining.left.signature
        self._keys: KeyCodec = key_codec(left.out_key, left.where)
        self._names = count()
        self._gone: Told = _untold
        self.keys_held = 0
        """Different keys that were held, of each block by itself."""

    def pairs(self, slices: Sequence[Slice], gone: Told | None = None) -> Iterator[Pair]:
        """The pairs of all rows in these slices, which are in the order of the input.

        Calls `gone` with the bytes that have been taken.  Raises what the result's function raises,
        CorruptData, OSError.
        """
        self._gone = gone or _untold
        sides = [_Side(side, row_codec(self._joining.sides[side]), []) for side in (LEFT, RIGHT)]
        for each in slices:
            mark = read_mark(self._files, each, sides[LEFT].rows)
            if mark:  # else it is empty
                sides[MARKS.index(mark)].slices.append(each)
        held, streamed = sides[RIGHT], sides[LEFT]
        if self._to_hold is None and streamed.records < held.records:
            held, streamed = streamed, held
        return chain.from_iterable(self._all(held, streamed))

    def _all(self, held: _Side, streamed: _Side) -> Iterator[Iterable[Pair]]:
        if held.raw_bytes <= self._most_bytes:
            yield from self._past_one(held, streamed)
            return
        pieces = min(MOST_PIECES, int(_SPARE * held.raw_bytes / self._most_bytes) + 1)
        made: list[str] = []
        cut = [self._cut(side, pieces, made) for side in (held, streamed)]
        self._gone = _untold  # what the pieces hold was told when they were made
        for small, large in zip(*cut, strict=True):
            if small.raw_bytes <= self._most_bytes:
                yield from self._past_one(small, large)
            else:
                yield from self._past_blocks(small, large)
        for path in made:
            self._files.unlink(path)

    def _past_one(self, held: _Side, streamed: _Side) -> Iterator[Iterable[Pair]]:
        """Everything held at once."""
        partners = self._held(self._blocks(held))
        yield from self._past(partners, streamed, (None,) if self._joining.keeps(streamed.number) else ())

    def _past(self, partners: Partners, streamed: _Side, alone: tuple[Any, ...]) -> Iterator[Iterable[Pair]]:
        """The streamed rows with their partners, those without with `alone`; then held rows without."""
        written, is_left, find = self._written, streamed.number == LEFT, partners.get
        keeps_held = self._joining.keeps(1 - streamed.number)
        met: set[Any] = set()
        for block in self._blocks(streamed):
            for key, row in zip(self._as_held(block.keys), block.values, strict=True):
                if (found := find(key)) is None:
                    for none in alone:
                        own = self._own(key)
                        yield written(own, row, none) if is_left else written(own, none, row)
                    continue
                if keeps_held:
                    met.add(key)
                own, rows = found
                for partner in rows:
                    yield written(own, row, partner) if is_left else written(own, partner, row)
        if keeps_held:
            for key, (own, rows) in partners.items():
                if key not in met:
                    for row in rows:
                        yield written(own, None, row) if is_left else written(own, row, None)

    def _past_blocks(self, held: _Side, streamed: _Side) -> Iterator[Iterable[Pair]]:
        """The held rows block by block; which streamed rows have met a partner is kept, a byte for each."""
        written, is_left, own = self._written, streamed.number == LEFT, self._own
        keeps_streamed = self._joining.keeps(streamed.number)
        has_met = bytearray(streamed.records) if keeps_streamed else bytearray()
        for blocks in self._fitting(self._blocks(held)):
            partners = self._held(blocks)
            if keeps_streamed:
                self._note_met(partners, streamed, has_met)
            yield from self._past(partners, streamed, ())
        if not keeps_streamed:
            return
        at = count()
        for block in self._blocks(streamed):
            for key, row in zip(self._as_held(block.keys), block.values, strict=True):
                if not has_met[next(at)]:
                    yield written(own(key), row, None) if is_left else written(own(key), None, row)

    def _note_met(self, partners: Partners, streamed: _Side, has_met: bytearray) -> None:
        at = 0
        for block in self._blocks(streamed):
            for key in self._as_held(block.keys):
                if key in partners:
                    has_met[at] = 1
                at += 1

    def _held(self, blocks: Iterable[RowBlock]) -> Partners:
        """The dict has keys as they are where these are equal as their bytes are, else as bytes."""
        partners: Partners = {}
        for block in blocks:
            for key, row in zip(self._as_held(block.keys), block.values, strict=True):
                if (found := partners.get(key)) is None:
                    partners[key] = self._own(key), [row]
                else:
                    found[1].append(row)
        self.keys_held += len(partners)
        return partners

    def _as_held(self, keys: Sequence[bytes]) -> Sequence[Any]:
        return keys if self._keys.plain is None else self._keys.decode_all(list(keys))

    def _own(self, key: Any) -> Any:
        return key if self._keys.plain is not None else self._keys.decode(key)

    def _fitting(self, blocks: Iterator[RowBlock]) -> Iterator[list[RowBlock]]:
        """As many blocks as may be held at once; at least one."""
        group: list[RowBlock] = []
        size = 0
        for block in blocks:
            if group and size + block.raw_bytes > self._most_bytes:
                yield group
                group, size = [], 0
            group.append(block)
            size += block.raw_bytes
        if group:
            yield group

    def _blocks(self, side: _Side) -> Iterator[RowBlock]:
        for each in side.slices:
            yield from read_rows_of(self._files, each, side.rows, self._gone)

    def _cut(self, side: _Side, pieces: int, made: list[str]) -> list[_Side]:
        """The rows by a second hash, in runs with a stretch for each piece."""
        cut = [_Side(side.number, side.rows, []) for _ in range(pieces)]
        for blocks in self._fitting(self._blocks(side)):
            keys: list[list[bytes]] = [[] for _ in range(pieces)]
            rows: list[list[Any]] = [[] for _ in range(pieces)]
            for block in blocks:
                for key, row in zip(block.keys, block.values, strict=True):
                    place = xxh3_64_intdigest(key, _SECOND_SEED) % pieces
                    keys[place].append(key)
                    rows[place].append(row)
            path = f"{self._folder}/piece-{next(self._names):05d}.run"
            made.append(path)
            writer = RunWriter(self._files, path, side.rows, self._compression)
            for one in zip(keys, rows, strict=True):
                writer.write_singles((one,))
            for piece, where in zip(cut, writer.finish(), strict=True):
                if where.records:
                    found = Slice(path, where.offset, where.length, where.raw_bytes, where.records)
                    piece.slices.append(found)
        return cut


def _untold(size: int) -> None:
    """Nobody wants to know."""
