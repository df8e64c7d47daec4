"""Records with their types, in the binary format `records`, by which one job hands them to another.

Pure.  A file is blocks one after the other, each with the names of its types, so that what two tasks have
written can be put together, and a reader refuses what it would take for something else.

Layout: docs/formats/job.md, "Typed records".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import google_crc32c
import msgpack

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.signatures import Hint, name_of, unwrapped
from ringmill.cluster.mapreduce.codecs.value_codecs import pack_block, unpack_block, value_codec
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["TypedRecords", "same_type"]

MAGIC: Final = "RMREC1"
MOST_BYTES: Final = (1 << 31) - 1  # of one block
_NIL: Final = msgpack.packb(None)


class TypedRecords:
    """Packs and unpacks pairs of two hinted types; `where` names the function that gives or takes them."""

    def __init__(self, key: Hint, value: Hint, where: str) -> None:
        self._key, self._value, self._where = unwrapped(key), unwrapped(value), where
        self._codecs = value_codec(key, where), value_codec(value, where)

    def packed(self, batch: Sequence[tuple[Any, Any]]) -> bytes:
        """A block of these records.  Raises TaskFailed for a value that its hint forbids."""
        sides = zip(self._codecs, zip(*batch, strict=True), strict=True)
        try:
            keys, values = (pack_block(codec.to_wire(list(side))) for codec, side in sides)
        except InvalidArgument as error:
            raise TaskFailed(Cause.USER_ERROR, f"{self._where} gave {error}") from error
        crc = google_crc32c.extend(google_crc32c.value(keys), values)
        block: bytes = msgpack.packb([MAGIC, name_of(self._key), name_of(self._value), crc, keys, values])
        return block

    def unpacked(self, pieces: Iterable[bytes]) -> Iterator[list[tuple[Any, Any]]]:
        """The records of each block of a file, which comes in any pieces.

        Raises TaskFailed: for bytes that are no such file, or of other types than the hinted ones.
        """
        unpacker = msgpack.Unpacker(max_buffer_size=MOST_BYTES)
        try:
            for data in pieces:
                unpacker.feed(data)
                yield from map(self._records, unpacker)
            unpacker.feed(_NIL)  # what had no end swallows it
            if list(unpacker) != [None]:
                raise ValueError("the last block has no end")
        except (ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException) as error:
            raise TaskFailed(Cause.CORRUPT_DATA, f"no typed records: {error}") from error

    def _records(self, block: Any) -> list[tuple[Any, Any]]:
        magic, key, value, crc, *sides = block
        if magic != MAGIC:
            raise ValueError(f"a block begins with {magic!r:.40}")
        if crc != google_crc32c.extend(google_crc32c.value(sides[0]), sides[1]):
            raise ValueError("a block does not match its checksum")
        for what, given, wanted in (("key", key, self._key), ("value", value, self._value)):
            if given != name_of(wanted) and wanted not in (Any, object):
                message = (
                    f"map {self._where} takes a {what} of type {name_of(wanted)}; the records have {given}"
                )
                raise TaskFailed(Cause.USER_ERROR, message)
        keys, values = (
            codec.from_wire(unpack_block(side, use_lists=codec.uses_lists))
            for codec, side in zip(self._codecs, sides, strict=True)
        )
        return list(zip(keys, values, strict=True))


def same_type(given: Hint, wanted: Hint) -> bool:
    """Whether records that were written as `given` may be read as `wanted`."""
    given, wanted = unwrapped(given), unwrapped(wanted)
    return wanted in (Any, object) or name_of(given) == name_of(wanted)
