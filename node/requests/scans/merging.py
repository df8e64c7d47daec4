"""What the answers of several owners about one key range come to.  Pure.

Every answer covers the range from its beginning up to its own last key.  Where one of them ends, nothing is
known of what it holds behind: the merge ends there (rule L2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ringmill.cluster.versions.object_codec import decode_object
from ringmill.cluster.versions.objects import StoredObject, merge_all

__all__ = ["OwnerRange", "end_of", "keys_before", "merged_of"]


class OwnerRange(NamedTuple):
    """What one owner holds: objects by key, in key order, of all keys before `covered_to`; empty: of all
    keys."""

    objects: Mapping[bytes, bytes]
    covered_to: bytes


def end_of(answers: Iterable[OwnerRange]) -> bytes:
    """The key up to which every answer is complete; empty when all of them are complete to the end."""
    return min((answer.covered_to for answer in answers if answer.covered_to), default=b"")


def keys_before(answers: Iterable[OwnerRange], end: bytes) -> list[bytes]:
    """All keys of which an answer tells, in order."""
    keys = {key for answer in answers for key in answer.objects}
    return sorted(key for key in keys if not end or key < end)


def merged_of(answers: Sequence[OwnerRange], key: bytes) -> StoredObject:
    """The merge of all answers about a key, tombstones included (rule L1)."""
    objects = dict.fromkeys(encoded for answer in answers if (encoded := answer.objects.get(key)) is not None)
    return merge_all(map(decode_object, objects))
