"""Records of a keyspace as a file: what a node hands to a map task, and what a KvOutput writes.

Pure.  A record is what a reader of the keyspace is shown of a key: its values, newest first, or what they are
folded to where the keyspace is one of counters, sets or maps.

Layout: docs/formats/job.md, "Records of keyspaces".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Final, NoReturn, TypeAlias

import msgpack

from ringmill.cluster.mapreduce.codecs.signatures import fits, name_of
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown

__all__ = ["KEY_TYPES", "VALUE_TYPES", "Content", "Rows", "encode_records", "read_rows", "record_of"]

Content: TypeAlias = Sequence[bytes] | int | Set[bytes] | Mapping[bytes, bytes]
"""What a key holds: its values, a count, the elements of a set, or the entries of a map."""

MOST_BYTES: Final = 64 << 20  # of one record; siblings take 32 MiB at most (rule V5)

_MOST_FIELDS: Final = 3
_ARRAYS_OF_A_ROW: Final = 2  # [key, kind, [value]]

_NIL: Final = b"\xc0"

_VALUES, _COUNT, _SET, _MAP = range(4)
_WHAT: Final = ("values", "a count", "a set", "a map")

KEY_TYPES: Final[tuple[Any, ...]] = (bytes, str)
VALUE_TYPES: Final[Mapping[int, tuple[Any, ...]]] = {
    _VALUES: (bytes, str, list[bytes], list[str]),
    _COUNT: (int,),
    _SET: (frozenset[bytes], set[bytes], frozenset[str], set[str]),
    _MAP: (dict[bytes, bytes], dict[str, bytes], dict[str, str]),
}
"""The types that map may take, by the kind of a record; the first that fits is what it gets."""


def encode_records(records: Iterable[tuple[bytes, Content]]) -> bytes:
    """The records one after the other."""
    return b"".join(msgpack.packb(_row(key, content)) for key, content in records)


def _row(key: bytes, content: Content) -> list[Any]:
    if isinstance(content, int):
        return [key, _COUNT, content]
    if isinstance(content, Set):
        return [key, _SET, sorted(content)]
    if isinstance(content, Mapping):
        return [key, _MAP, [[name, content[name]] for name in sorted(content)]]
    return [key, _VALUES, list(content)]


class Rows:
    """Takes the bytes of a file of records, block by block, and gives its rows: [key, kind, content].

    With `is_output` it takes what a KvOutput writes alone, one value a key, and refuses all else before it
    takes memory: a job's code may have written the file, and a node reads it.
    """

    def __init__(self, *, is_output: bool = False) -> None:
        self._arrays = 0  # that have ended since the last whole row
        self._unpacker = (
            msgpack.Unpacker(
                max_buffer_size=MOST_BYTES, max_array_len=_MOST_FIELDS, max_map_len=0, max_ext_len=0,
                list_hook=self._few, object_pairs_hook=_refuse, ext_hook=_refuse,
            )
            if is_output
            else msgpack.Unpacker(max_buffer_size=MOST_BYTES)
        )  # fmt: skip
        self._taken = 0
        self._unended = 0  # bytes, at most, of the record that has no end yet

    def of(self, data: bytes) -> list[list[Any]]:
        """The rows that end in this block.  Raises TaskFailed for bytes that are no records."""
        rows: list[list[Any]] = []
        try:
            self._unpacker.feed(data)
            self._taken += len(data)
            for row in self._unpacker:
                rows.append(row)
                self._arrays = 0
        except msgpack.BufferFull as error:
            raise _too_large() from error
        except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
            raise TaskFailed(Cause.CORRUPT_DATA, f"no records of a keyspace: {error}") from error
        # the unpacker gives its buffer back while it keeps what it has made of half a record
        self._unended = len(data) if rows else self._unended + len(data)
        if self._unended > MOST_BYTES + len(data):
            raise _too_large()
        return rows

    def _few(self, fields: list[Any]) -> list[Any]:
        self._arrays += 1
        if self._arrays > _ARRAYS_OF_A_ROW:
            raise ValueError("a record of more arrays than a key and its values have")
        return fields

    def finish(self) -> None:
        """Raises TaskFailed when the last record has no end.

        The unpacker keeps the beginning of a record and does not tell of it.  So it gets a nil: behind a
        whole record that is a row of its own, and else a part of the record.
        """
        if self.of(_NIL) != [None]:
            message = f"the last record of {self._taken - len(_NIL)} bytes has no end"
            raise TaskFailed(Cause.CORRUPT_DATA, message)


def _refuse(*given: object) -> NoReturn:
    raise ValueError("a map or an extension, which no record has")


def _too_large() -> TaskFailed:
    return TaskFailed(Cause.CORRUPT_DATA, f"a record of a keyspace has more than {MOST_BYTES} bytes")


def read_rows(blocks: Iterable[bytes]) -> Iterator[list[list[Any]]]:
    """The rows of each block: those that end in it.

    Raises TaskFailed for bytes that are no records, or end within one.
    """
    rows = Rows()
    for data in blocks:
        yield rows.of(data)
    rows.finish()


def record_of(key_hint: Any, value_hint: Any) -> Callable[[list[Any]], tuple[Any, Any]]:
    """How a row becomes the key and value that map takes, by its hints.

    The function raises TaskFailed for a row of a kind that map does not take.
    """
    is_text = not fits(bytes, key_hint)
    chosen = {
        kind: next((each for each in options if fits(each, value_hint)), None)
        for kind, options in VALUE_TYPES.items()
    }

    def taken(row: list[Any]) -> tuple[Any, Any]:
        try:
            key, kind, body = row
            given = _text(key) if is_text else key
            wanted = chosen[kind]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TaskFailed(Cause.CORRUPT_DATA, f"no record of a keyspace: {row!r:.200}") from error
        if wanted is None:
            raise _unsuited(key, kind, value_hint)
        return given, _TAKEN[kind](key, body, wanted)

    return taken


def _values(key: bytes, body: list[bytes], wanted: Any) -> Any:
    if wanted in (list[bytes], list[str]):
        return body if wanted == list[bytes] else list(map(_text, body))
    if len(body) != 1:
        raise TaskFailed(
            Cause.USER_ERROR,
            f"key {shown(key, 100)} has {len(body)} concurrent values, and map takes one; let it take "
            f"{'list[str]' if wanted is str else 'list[bytes]'}",
        )
    return _text(body[0]) if wanted is str else body[0]


def _set(key: bytes, body: list[bytes], wanted: Any) -> Any:
    elements = map(_text, body) if wanted in (frozenset[str], set[str]) else body
    return set(elements) if wanted in (set[bytes], set[str]) else frozenset(elements)


def _map(key: bytes, body: list[list[bytes]], wanted: Any) -> Any:
    if wanted == dict[bytes, bytes]:
        return {name: value for name, value in body}  # noqa: C416 - rows are lists
    return {_text(name): _text(value) if wanted == dict[str, str] else value for name, value in body}


def _count(key: bytes, body: int, wanted: Any) -> int:
    return body


_TAKEN: Final[tuple[Callable[[bytes, Any, Any], Any], ...]] = (_values, _count, _set, _map)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _unsuited(key: bytes, kind: int, hint: Any) -> TaskFailed:
    options = " or ".join(map(name_of, VALUE_TYPES[kind]))
    return TaskFailed(
        Cause.USER_ERROR,
        f"key {shown(key, 100)} holds {_WHAT[kind]}, which map can take as {options}, not as {name_of(hint)}",
    )
