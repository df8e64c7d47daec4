"""The bytes of an object: one object has one encoding, so that equal bytes mean equal objects.

Decoding is bounded by the length of its input and refuses whatever breaks an invariant of objects.py.
Layout: docs/formats/object.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import msgpack

from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.versions.replaced import is_well_formed

__all__ = [
    "FORMAT_VERSION",
    "IS_RETRY",
    "MAX_COUNT",
    "WITH_REPLACED",
    "decode_object",
    "decode_vector",
    "encode_object",
    "outline",
]

FORMAT_VERSION: Final = 1
WITH_REPLACED: Final = 2  # the version of an object that remembers replaced operations
MAX_COUNT: Final = 1 << 48
"""The bound of one actor's count: at a million writes a second a start gets there in nine years."""
IS_RETRY: Final = 1  # flag bit of a sibling
_NUMBER: Final = {int}
_pack: Callable[[object], bytes] = msgpack.packb
_HEAD: Final = bytes([FORMAT_VERSION])
_HEAD_WITH_REPLACED: Final = bytes([WITH_REPLACED])


def encode_object(stored: StoredObject) -> bytes:
    """Version byte and msgpack body.  The absent object encodes too, to a few bytes."""
    forgotten, replaced = stored.forgotten, stored.replaced
    siblings = [_pack_sibling(each) for each in stored.siblings]
    if not replaced:
        return _HEAD + _pack((forgotten, stored.context.entries, siblings))
    return _HEAD_WITH_REPLACED + _pack((forgotten, stored.context.entries, siblings, replaced))


def decode_object(data: bytes) -> StoredObject:
    """Raises ProtocolMismatch for another version, CorruptData for what `encode_object` never wrote."""
    version = _version(data)
    try:
        forgotten, vector, siblings, *rest = msgpack.unpackb(data[1:])
        if type(siblings) is not list:
            raise TypeError(f"siblings of type {type(siblings).__name__}")
        if len(rest) != version - FORMAT_VERSION:
            raise ValueError(f"{3 + len(rest)} fields in version {version}")
        replaced = _unpack_replaced(rest[0]) if rest else b""
        if len(siblings) == 1:
            plain = _plain(forgotten, vector, siblings[0], replaced)
            if plain is not None:
                return plain
        stored = StoredObject(
            decode_vector(vector),
            tuple([_unpack_sibling(fields) for fields in siblings]),
            _u64(forgotten),
            replaced,
        )
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise CorruptData(f"an object of {len(data)} bytes does not decode: {error}") from error
    _check(stored)
    return stored


def _plain(forgotten: Any, vector: Any, fields: Any, replaced: bytes) -> StoredObject | None:
    """The object of one sibling whose dot is the last of its only actor, as nearly all are.

    The same checks in fewer steps: None for any other object, and for one that is to be refused.
    """
    if type(vector) is not list or len(vector) != 1 or type(fields) is not list or len(fields) != 9:
        return None
    actor, counter, value, time, session, sequence, birth, expires_at_ms, flags = fields
    if type(actor) is not str or "#" not in actor or len(actor) > 255 or vector[0] != [actor, counter]:
        return None
    numbers = (counter, time, session, sequence, birth, expires_at_ms, flags, forgotten, vector[0][1])
    if {*map(type, numbers)} != _NUMBER or min(numbers) < 0 or flags > IS_RETRY or counter >= MAX_COUNT:
        return None
    if value is not None and type(value) is not bytes:
        return None
    dot = Dot(Actor(actor), counter)
    sibling = Sibling(
        dot, value, time, OperationId(session, sequence, birth), expires_at_ms, flags == IS_RETRY
    )
    return StoredObject(VersionVector((dot,)), (sibling,), forgotten, replaced)


def outline(data: bytes) -> tuple[bool, int, HybridTime]:
    """Whether some sibling has a value, when the first one expires (ms since 1970, 0: none does), and the
    time of the newest one, at a fifth of what `decode_object` costs: it checks no invariant.

    Raises as `decode_object`, but only for bytes that are not an object at all.
    """
    _version(data)
    try:
        siblings = msgpack.unpackb(memoryview(data)[1:])[2]
        has_value, first_ms, newest = False, 0, 0
        for fields in siblings:
            newest = max(newest, fields[3])
            has_value = has_value or fields[2] is not None
            if fields[7] and (not first_ms or fields[7] < first_ms):
                first_ms = fields[7]
        return has_value, first_ms, HybridTime(newest)
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise CorruptData(f"an object of {len(data)} bytes does not decode: {error}") from error


def _version(data: bytes) -> int:
    if data and FORMAT_VERSION <= data[0] <= WITH_REPLACED:
        return data[0]
    raise ProtocolMismatch(
        f"an object of format version {data[0] if data else 'none'}, know {FORMAT_VERSION} to {WITH_REPLACED}"
    )


def decode_vector(pairs: Any) -> VersionVector:
    """The vector of [actor, counter] pairs, as its entries are packed.

    Raises ValueError or TypeError unless the pairs are strictly sorted and well typed.
    """
    if type(pairs) is not list:
        raise TypeError(f"a vector of type {type(pairs).__name__}")
    entries = tuple([(_actor(actor), _count(counter)) for actor, counter in pairs])
    if len(entries) > 1 and any(low[0] >= high[0] for low, high in pairwise(entries)):
        raise ValueError("vector entries are not sorted by actor")
    return VersionVector(entries)


def _pack_sibling(sibling: Sibling) -> list[Any]:
    (actor, counter), value, time, (session, sequence, birth), expires_at_ms, is_retry = sibling
    flags = IS_RETRY if is_retry else 0
    return [actor, counter, value, time, session, sequence, birth, expires_at_ms, flags]


def _unpack_sibling(fields: Any) -> Sibling:
    actor, counter, value, time, session, sequence, birth, expires_at_ms, flags = fields
    if not (value is None or type(value) is bytes):
        raise TypeError(f"a value of type {type(value).__name__}")
    numbers = (counter, time, session, sequence, birth, expires_at_ms, flags)
    if {*map(type, numbers)} != _NUMBER or min(numbers) < 0:  # msgpack holds no number above 64 bits
        raise ValueError("a sibling's numbers are not all unsigned")
    if flags > IS_RETRY:
        raise ValueError(f"unknown sibling flags {flags}")
    return Sibling(
        Dot(_actor(actor), counter), value, HybridTime(time),
        OperationId(session, sequence, HybridTime(birth)), expires_at_ms, flags == IS_RETRY,
    )  # fmt: skip


def _unpack_replaced(replaced: Any) -> bytes:
    if type(replaced) is not bytes or not is_well_formed(replaced):
        raise ValueError("replaced operations are not 1 to 72 entries of 16 bytes")
    return replaced


def _check(stored: StoredObject) -> None:
    siblings = stored.siblings
    if len(siblings) > 1 and any(low.dot >= high.dot for low, high in pairwise(siblings)):
        raise CorruptData("an object's siblings are not sorted by dot")
    for sibling in siblings:
        if not stored.context.covers(sibling.dot):
            raise CorruptData(f"an object's context does not cover its sibling {sibling.dot}")


def _actor(value: Any) -> Actor:
    if not isinstance(value, str) or "#" not in value or len(value) > 255:
        raise ValueError(f"{_shown(value)} is not an actor")
    return Actor(value)


def _count(value: Any) -> int:
    if _u64(value) >= MAX_COUNT:
        raise ValueError(f"no actor has counted to {value}")
    return int(value)


def _u64(value: Any) -> HybridTime:
    if type(value) is not int or value < 0:
        raise ValueError(f"{_shown(value)} is not an unsigned 64-bit number")
    return HybridTime(value)


def _shown(value: Any) -> str:
    """An array is not shown: it may be nested deeper than Python can print."""
    return f"a {type(value).__name__}" if isinstance(value, list | dict) else f"{value!r:.80}"
