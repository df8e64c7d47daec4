"""Records with their types, in the binary format `records`, by which one job hands them to another.

Pure.  A file is blocks one after the other, each with the names of its types, so that what two tasks have
written can be put together, and a reader refuses what it would take for something else.

Layout: docs/formats/job.md, "Typed records".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import google_crc32c
import msgpack

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.signatures import Hint, has_part, name_of, unwrapped
from ringmill.cluster.mapreduce.codecs.type_texts import has_new_type, is_one_type, new_types_of
from ringmill.cluster.mapreduce.codecs.value_codecs import pack_block, unpack_block, value_codec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["TypedRecords", "record_type", "same_type"]

MAGIC: Final = "RMREC1"
OF_FIELDS: Final = "RMREC2"  # the types tell the fields of their dataclasses
MOST_BYTES: Final = (1 << 31) - 1  # of one block
BLOCK_RECORDS: Final = 1024
BLOCK_BYTES: Final = 1 << 20  # of packed keys and values; the record that passes it ends its block
_AROUND: Final = 1 << 20  # the types, and what msgpack writes around the two sides
_NIL: Final = msgpack.packb(None)


class TypedRecords:
    """Packs and unpacks pairs of two hinted types; `where` names the function that gives or takes them."""

    def __init__(self, key: Hint, value: Hint, where: str) -> None:
        self._key, self._value, self._where = unwrapped(key), unwrapped(value), where
        self._codecs = value_codec(key, where), value_codec(value, where)

    def packed(self, batch: Sequence[tuple[Any, Any]]) -> bytes:
        """A block of all these records.  Raises TaskFailed for a value that its hint forbids."""
        block = _Block()
        block.add(len(batch), self._bodies(*zip(*batch, strict=True)))
        return self._block(block)

    def blocks(self, columns: Iterable[tuple[Sequence[Any], Sequence[Any]]]) -> Iterator[tuple[int, bytes]]:
        """Blocks of these records, of which keys and values come by columns, with how many each has.

        A block ends with its 1,024th record, or the one with which it has 1 MiB: where it ends follows from
        the records alone, and what comes at a time is as well packed as it is in memory.  Raises as `packed`.
        """
        block = _Block()
        for keys, values in columns:
            at, step = 0, len(keys)
            while at < len(keys):
                step = min(step, len(keys) - at, BLOCK_RECORDS - block.records)
                sides = self._bodies(keys[at : at + step], values[at : at + step])
                if step > 1 and block.size + len(sides[0]) + len(sides[1]) >= BLOCK_BYTES:
                    step //= 2  # the block may end within them
                    continue
                block.add(step, sides)
                at += step
                if block.is_full:
                    yield block.records, self._block(block)
                    block, step = _Block(), block.records  # those that follow may be as large
        if block.records:
            yield block.records, self._block(block)

    def _bodies(self, all_keys: Sequence[Any], all_values: Sequence[Any]) -> tuple[bytes, bytes]:
        """Keys and values as msgpack packs them, one after the other."""
        to_keys, to_values = self._codecs
        try:
            keys, values = to_keys.to_wire(list(all_keys)), to_values.to_wire(list(all_values))
            at = len(_array_of(len(all_keys)))
            return pack_block(keys)[at:], pack_block(values)[at:]
        except InvalidArgument as error:
            raise TaskFailed(Cause.USER_ERROR, f"{self._where} gave {error}") from error

    def _block(self, block: _Block) -> bytes:
        if block.size > MOST_BYTES - _AROUND:
            message = f"{self._where} gave a record of {block.size} bytes, {MOST_BYTES - _AROUND} are allowed"
            raise TaskFailed(Cause.USER_ERROR, f"{message} in the format records")
        head = _array_of(block.records)
        keys, values = b"".join((head, *block.keys)), b"".join((head, *block.values))
        crc = google_crc32c.extend(google_crc32c.value(keys), values)
        magic = OF_FIELDS if self._has_fields else MAGIC
        packed: bytes = msgpack.packb([magic, *self._types, crc, keys, values])
        return packed

    @cached_property
    def _types(self) -> tuple[str, str]:
        return record_type(self._key), record_type(self._value)

    @cached_property
    def _has_fields(self) -> bool:
        return any(has_part(each, _is_dataclass) for each in (self._key, self._value))

    def unpacked(self, pieces: Iterable[bytes]) -> Iterator[list[tuple[Any, Any]]]:
        """The records of each block of a file, which comes in any pieces.

        Raises TaskFailed: for bytes that are no such file, or of other types than the hinted ones.
        """
        for keys, values in self.columns(pieces):
            yield list(zip(keys, values, strict=True))

    def columns(self, pieces: Iterable[bytes]) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
        """The same as keys and the value of each."""
        unpacker = msgpack.Unpacker(max_buffer_size=MOST_BYTES)
        try:
            for data in pieces:
                unpacker.feed(data)
                yield from map(self._sides, unpacker)
            unpacker.feed(_NIL)  # what had no end swallows it
            if list(unpacker) != [None]:
                raise ValueError("the last block has no end")
        except (ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException) as error:
            raise TaskFailed(Cause.CORRUPT_DATA, f"no typed records: {error}") from error

    def _sides(self, block: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        magic, key, value, crc, *sides = block
        if magic not in (MAGIC, OF_FIELDS):
            raise ValueError(f"a block begins with {magic!r:.40}")
        if crc != google_crc32c.extend(google_crc32c.value(sides[0]), sides[1]):
            raise ValueError("a block does not match its checksum")
        sought = (self._key, self._value)
        is_former = magic == MAGIC and self._has_fields
        names = tuple(map(name_of, sought)) if is_former else self._types
        for what, given, wanted, declared in zip(("key", "value"), (key, value), sought, names, strict=True):
            is_same = given == declared or is_one_type(given, declared, new_types_of(wanted))
            if not is_same and wanted not in (Any, object):
                message = f"map {self._where} takes a {what} of type {declared}; the records have {given}"
                raise TaskFailed(Cause.USER_ERROR, message)
        keys, values = (
            codec.from_wire(unpack_block(side, use_lists=codec.uses_lists))
            for codec, side in zip(self._codecs, sides, strict=True)
        )
        if len(keys) != len(values):
            raise ValueError(f"a block has {len(keys)} keys and {len(values)} values")
        return keys, values


class _Block:
    """Records that are packed already."""

    def __init__(self) -> None:
        self.records = self.size = 0
        self.keys: list[bytes] = []
        self.values: list[bytes] = []

    @property
    def is_full(self) -> bool:
        return self.records >= BLOCK_RECORDS or self.size >= BLOCK_BYTES

    def add(self, records: int, sides: tuple[bytes, bytes]) -> None:
        self.keys.append(sides[0])
        self.values.append(sides[1])
        self.records += records
        self.size += len(sides[0]) + len(sides[1])


@lru_cache
def _array_of(count: int) -> bytes:
    """How msgpack begins an array of this many."""
    head: bytes = msgpack.Packer().pack_array_header(count)
    return head


def same_type(given: Hint, wanted: Hint) -> bool:
    """Whether records that were written as `given` may be read as `wanted`."""
    given, wanted = unwrapped(given), unwrapped(wanted)
    return wanted in (Any, object) or is_one_type(record_type(given), record_type(wanted))


def record_type(hint: Hint) -> str:
    """The type of keys or values as their blocks tell it: a dataclass by its name and its fields in their
    order, as a value has no more of them than the order; a NewType as what it wraps; the rest as its author
    wrote it."""
    hint = unwrapped(hint)
    if not has_part(hint, _is_dataclass) and not has_new_type(hint):
        return name_of(hint)
    if _is_dataclass(hint):
        hints = get_type_hints(hint)
        fields = [f"{field.name}: {record_type(hints[field.name])}" for field in dataclasses.fields(hint)]
        return f"{hint.__qualname__}({', '.join(fields)})"
    origin: Any = get_origin(hint)
    parts = ["..." if each is Ellipsis else record_type(each) for each in get_args(hint)]
    if origin in (Union, UnionType):
        return " | ".join(parts)
    return f"{origin.__name__}[{', '.join(parts)}]"


def _is_dataclass(hint: Hint) -> bool:
    return dataclasses.is_dataclass(hint) and isinstance(hint, type)
