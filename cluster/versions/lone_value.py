"""An object of one value, as its bytes tell it: what nearly every write replaces and nearly every read shows.

The bytes are unpacked and checked as `decode_object` checks them, but no object is made of them.  What can be
decided from the fields alone is decided here, and comes to what the objects would come to; everything else
has no short way: `lone_of` gives None, and the caller decodes.

Rule V1: docs/protocol/versions.md.  Layout: docs/formats/object.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from ringmill.cluster.ids import Actor
from ringmill.cluster.limits import MAX_VALUE_BYTES
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import (
    FORMAT_VERSION,
    IS_RETRY,
    MAX_COUNT,
    WITH_REPLACED,
    decode_vector,
)
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.versions.replaced import entry_of, is_well_formed, knows, remember

__all__ = ["LoneValue", "lone_of", "overwritten", "replaces"]

_unpack = msgpack.unpackb


class LoneValue(NamedTuple):
    """`vector` holds [actor, counter] pairs in order, `fields` the nine fields of the sibling."""

    forgotten: HybridTime
    vector: list[list[Any]]
    fields: list[Any]
    replaced: bytes

    @property
    def time(self) -> HybridTime:
        """When it was written."""
        return self.fields[3]  # type: ignore[no-any-return]

    @property
    def expires_at_ms(self) -> int:
        """In milliseconds since 1970; 0: never."""
        return self.fields[7]  # type: ignore[no-any-return]

    @property
    def is_plain(self) -> bool:
        """It never expires and is no larger than a client's value may be: a reader is shown it as it is."""
        fields = self.fields
        return not fields[7] and len(fields[2]) <= MAX_VALUE_BYTES

    def knows(self, operation: OperationId) -> bool:
        """Whether this operation wrote it, or is remembered as replaced."""
        if tuple(self.fields[4:7]) == operation:
            return True
        return knows(self.replaced, *operation)

    @property
    def replaced_next(self) -> bytes:
        """What is remembered once this value is replaced."""
        fields = self.fields
        entry = entry_of(fields[3], fields[4], fields[5], fields[6], is_retry=fields[8] == IS_RETRY)
        return remember(self.replaced, entry)


def lone_of(data: bytes) -> LoneValue | None:
    """None for any other object, and for bytes that are to be refused."""
    if not data or not FORMAT_VERSION <= data[0] <= WITH_REPLACED:
        return None
    try:
        if data[0] == FORMAT_VERSION:
            forgotten, vector, (fields,) = _unpack(data[1:])
            replaced = b""
        else:
            forgotten, vector, (fields,), replaced = _unpack(data[1:])
            if type(replaced) is not bytes or not is_well_formed(replaced):
                return None
        actor, counter, value, time, session, sequence, birth, expires_at_ms, flags = fields
        is_one = (  # field by field, as that is faster than to look at all types at once
            type(actor) is str and "#" in actor and len(actor) <= 255
            and type(counter) is int and 0 <= counter < MAX_COUNT
            and type(value) is bytes
            and type(time) is int and time >= 0
            and type(session) is int and session >= 0
            and type(sequence) is int and sequence >= 0
            and type(birth) is int and birth >= 0
            and type(expires_at_ms) is int and expires_at_ms >= 0
            and type(flags) is int and 0 <= flags <= IS_RETRY
            and type(forgotten) is int and forgotten >= 0
            and _covers(vector, actor, counter)
        )  # fmt: skip
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return LoneValue(forgotten, vector, fields, replaced) if is_one else None


def _covers(vector: Any, actor: str, counter: int) -> bool:
    """Raises ValueError and TypeError for what is not a vector."""
    if vector == [[actor, counter]] and type(vector[0][1]) is int:
        return True
    return type(vector) is list and decode_vector(vector).counter(Actor(actor)) >= counter


def replaces(theirs: LoneValue, ours: LoneValue) -> bool:
    """Whether the merge of the two is `theirs` as it is, because it was written over `ours`."""
    old, new = ours.fields, theirs.fields
    if theirs.forgotten < ours.forgotten or theirs.forgotten < old[6]:
        return False
    if not _covers_all(theirs, ours, new) or theirs.replaced != ours.replaced_next:
        return False
    return not knows(ours.replaced, new[4], new[5], new[6])


def _covers_all(theirs: LoneValue, ours: LoneValue, new: list[Any]) -> bool:
    """Whether `theirs` knows everything that `ours` does, and more: its own write."""
    if len(ours.vector) == 1 and len(theirs.vector) == 1:
        ((our_actor, our_count),), ((their_actor, their_count),) = ours.vector, theirs.vector
        return bool(our_actor == their_actor == new[0] and our_count < new[1] <= their_count)
    known = dict(ours.vector)
    if known.get(new[0], 0) >= new[1]:
        return False
    covered = dict(theirs.vector)
    return all(covered.get(actor, 0) >= counter for actor, counter in known.items())


def overwritten(present: LoneValue | None, sibling: Sibling) -> StoredObject:
    """The object after a write that has seen all that is present, None for nothing: as `supersede` makes it.

    The dot must be new to `present`.
    """
    dot = sibling.dot
    if present is None:
        return StoredObject(VersionVector((dot,)), (sibling,))
    birth, vector = present.fields[6], present.vector
    forgotten = birth if birth > present.forgotten else present.forgotten
    if len(vector) == 1 and vector[0][0] == dot.actor:
        return StoredObject(VersionVector((dot,)), (sibling,), forgotten, present.replaced_next)
    entries = VersionVector(tuple([Dot(actor, counter) for actor, counter in vector]))
    return StoredObject(entries.with_dot(dot), (sibling,), forgotten, present.replaced_next)
