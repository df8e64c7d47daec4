"""Sums of what each copy on this node holds, so that owners can tell in a few bytes whether they hold the
same.

A copy's keys fall into leaves by a hash of the key; the sum of a leaf is the exclusive or of a hash of each
of its objects.  Every change takes the old object out and puts the new one in, so a sum does not depend on
the order of changes, nor on how an object came about.  Two owners whose sums are equal hold the same bytes;
64 bits make a false equality as likely as once in 10^19 comparisons of copies that differ.

Sums are in memory only.  The scan that counts what is stored after a start makes them too, and until it has
passed a copy nothing is said of that copy; nor of one that it could not read whole, nor from the moment on at
which a damaged range of a copy is healed, as what was lost cannot be taken out (rule H10;
docs/decisions/sums-are-made-again-at-each-start.md).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from operator import xor
from struct import Struct
from typing import Final

from xxhash import xxh3_64_intdigest

from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, Copy, copy_prefix, prefix_end

__all__ = ["GROUPS", "GROUP_LEAVES", "LEAVES", "SUM_BYTES", "CopySums", "LeafSums", "leaf_of", "object_name"]

LEAVES: Final = 1024
GROUP_LEAVES: Final = 32  # next to each other; a difference of few leaves costs a group of sums for each
GROUPS: Final = LEAVES // GROUP_LEAVES
SUM_BYTES: Final = 8
_NAME: Final = Struct("<QI")
_ITEMS: Final = LEAVES  # where the number of objects stands, behind the sums
_BLANK: Final = bytes((LEAVES + 1) * SUM_BYTES)
KeyRange = tuple[bytes, bytes]
"""Stored keys from the first to before the second."""

_WORD: Final = (1 << 64) - 1  # while a pass counts, more may be forgotten than was counted so far


def leaf_of(key: bytes) -> int:
    """The leaf of a stored key without its copy's prefix."""
    return xxh3_64_intdigest(key) % LEAVES


def object_name(key: bytes, encoded: bytes) -> bytes:
    """What stands for an object in a message: the hash that is in the sums, and a part of the key's."""
    seed = xxh3_64_intdigest(key)
    return _NAME.pack(xxh3_64_intdigest(encoded, seed), seed >> 32)


class LeafSums:
    """The sums of one copy at one moment."""

    def __init__(self, sums: array[int] | None) -> None:
        """None: a copy without any object.  `items` is the number of objects."""
        self.items = 0 if sums is None else sums[_ITEMS]
        self._bytes = _BLANK if sums is None else _little(sums)

    @property
    def root(self) -> bytes:
        """Equal when all sums are."""
        return _hashed(self._bytes)

    def of_groups(self) -> bytes:
        """One sum for each group of leaves."""
        return b"".join(_hashed(self.of_leaves(bytes([group]))) for group in range(GROUPS))

    def of_leaves(self, groups: bytes) -> bytes:
        """The sums of all leaves of these groups, group by group."""
        size = GROUP_LEAVES * SUM_BYTES
        return b"".join(self._bytes[group * size : (group + 1) * size] for group in groups)


class CopySums:
    """The sums of all copies of a node.  A pass is the scan that makes them: `begin`, `add` each, `end`."""

    def __init__(self) -> None:
        self._sums: dict[bytes, array[int]] = {}  # by the copy's prefix
        self._unknown: dict[bytes, None] | None = None  # None: every copy
        self._unread: list[KeyRange] = []  # copies in these are unknown, too
        self._forgotten: dict[bytes, None] = {}  # during the present pass

    def change(self, stored_key: bytes, old: bytes | None, new: bytes) -> None:
        """An object stands in the place of another, or of none."""
        key = stored_key[COPY_PREFIX_BYTES:]
        seed = xxh3_64_intdigest(key)
        changed = xxh3_64_intdigest(new, seed)
        sums = self._sums.get(stored_key[:COPY_PREFIX_BYTES])
        if sums is None:
            sums = self._sums[stored_key[:COPY_PREFIX_BYTES]] = array("Q", _BLANK)
        if old is None:
            sums[_ITEMS] = (sums[_ITEMS] + 1) & _WORD
        else:
            changed ^= xxh3_64_intdigest(old, seed)
        sums[seed % LEAVES] ^= changed

    def drop(self, stored_key: bytes, old: bytes) -> None:
        """An object is forgotten (rule P1)."""
        key = stored_key[COPY_PREFIX_BYTES:]
        seed = xxh3_64_intdigest(key)
        sums = self._sums.get(stored_key[:COPY_PREFIX_BYTES])
        if sums is None:
            sums = self._sums[stored_key[:COPY_PREFIX_BYTES]] = array("Q", _BLANK)
        sums[_ITEMS] = (sums[_ITEMS] - 1) & _WORD
        sums[seed % LEAVES] ^= xxh3_64_intdigest(old, seed)

    def add_all(self, others: CopySums) -> None:
        """The objects that `others` has the sums of stand in the place of none."""
        self._join(others, 1)

    def drop_all(self, others: CopySums) -> None:
        """The objects that `others` has the sums of are gone."""
        self._join(others, -1)

    def _join(self, others: CopySums, sign: int) -> None:
        for prefix, more in others._sums.items():
            sums = self._sums.get(prefix)
            if sums is None:
                sums = array("Q", _BLANK)
            items = (sums[_ITEMS] + sign * more[_ITEMS]) & _WORD
            self._sums[prefix] = array("Q", map(xor, sums, more))
            self._sums[prefix][_ITEMS] = items

    def of(self, copy: Copy) -> LeafSums | None:
        """What the copy holds now, synced or not; None while that is not known."""
        prefix = copy_prefix(copy)
        if self._is_unknown(prefix):
            return None
        return LeafSums(self._sums.get(prefix))

    def of_what_was_added(self, copy: Copy) -> LeafSums:
        """The sums of the objects of a copy that were told here, whatever else it may hold."""
        return LeafSums(self._sums.get(copy_prefix(copy)))

    def drop_copy(self, copy: Copy) -> None:
        """All of it is gone."""
        self._sums.pop(copy_prefix(copy), None)

    def forget(self, stored_key: bytes) -> None:
        """What the copy of this key holds is not known until a pass that begins after this has ended."""
        prefix = stored_key[:COPY_PREFIX_BYTES]
        self._forgotten[prefix] = None
        if self._unknown is not None:
            self._unknown[prefix] = None

    def begin(self) -> None:
        """A pass over a snapshot that is taken now begins; changes from now on are told by `change`."""
        self._forgotten = {}
        for prefix in [each for each in self._sums if self._is_unknown(each)]:
            del self._sums[prefix]

    def add(self, stored_key: bytes, encoded: bytes) -> None:
        """An object of the snapshot."""
        if self._is_unknown(stored_key[:COPY_PREFIX_BYTES]):
            self.change(stored_key, None, encoded)

    def end(self, unread: Sequence[KeyRange] = ()) -> None:
        """The pass has seen all but these ranges of keys.  What was not known of them stays unknown."""
        if self._unknown is None:
            still, self._unread = dict[bytes, None](), list(unread)
        else:
            still = {prefix: None for prefix in self._unknown if _is_in(prefix, unread)}
            both = [(max(a, c), min(b, d)) for a, b in self._unread for c, d in unread]
            self._unread = [(start, end) for start, end in both if start < end]
        self._unknown = still | self._forgotten
        self._forgotten = {}

    def _is_unknown(self, prefix: bytes) -> bool:
        return self._unknown is None or prefix in self._unknown or _is_in(prefix, self._unread)


def _is_in(prefix: bytes, ranges: Sequence[KeyRange]) -> bool:
    """Whether a copy has keys in one of these."""
    behind = prefix_end(prefix)
    return any(start < behind and prefix < end for start, end in ranges)


def _hashed(data: bytes) -> bytes:
    return xxh3_64_intdigest(data).to_bytes(SUM_BYTES, "little")


def _little(sums: array[int]) -> bytes:
    if sys.byteorder == "little":
        return sums.tobytes()
    swapped = array("Q", sums)
    swapped.byteswap()
    return swapped.tobytes()
