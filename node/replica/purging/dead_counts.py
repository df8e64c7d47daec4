"""How many objects of each copy hold no value, and from which watermark on one of them may be forgotten.

In memory, kept with every change and made anew by the scan that counts what is stored.  It says where there
may be something to purge, so that nothing is proven, asked or scanned for copies without it.
"""

from __future__ import annotations

from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, Copy, copy_prefix

__all__ = ["DeadCounts"]


class DeadCounts:
    def __init__(self) -> None:
        self._tombstones: dict[bytes, int] = {}  # by the copy's prefix
        self._first: dict[bytes, int] = {}  # ms since 1970; none is forgotten at an earlier watermark

    def clear(self) -> None:
        """A count of everything begins."""
        self._tombstones.clear()
        self._first.clear()

    def drop_copy(self, copy: Copy) -> None:
        """All of it is gone."""
        self._tombstones.pop(copy_prefix(copy), None)
        self._first.pop(copy_prefix(copy), None)

    def change(self, stored_key: bytes, tombstones: int) -> None:
        """An object lost its last value (1), or has one again or is gone (-1)."""
        prefix = stored_key[:COPY_PREFIX_BYTES]
        self._tombstones[prefix] = self._tombstones.get(prefix, 0) + tombstones

    def dead_from(self, stored_key: bytes, at_ms: int) -> None:
        """This object may be forgotten once the watermark is there: it is a delete of then, or a value of it
        expires then."""
        self._note(stored_key[:COPY_PREFIX_BYTES], at_ms)

    def scan_begins(self, copy: Copy) -> int:
        """A pass over the copy looks when each of its objects may be forgotten; what changes meanwhile notes
        itself.  Returns what was known, to be noted again if the pass does not come to its end."""
        return self._first.pop(copy_prefix(copy), 0)

    def scanned(self, copy: Copy, first_ms: int) -> None:
        """The first of what such a pass has found; 0: nothing."""
        if first_ms:
            self._note(copy_prefix(copy), first_ms)

    def _note(self, prefix: bytes, at_ms: int) -> None:
        self._first[prefix] = min(self._first.get(prefix, at_ms), at_ms)

    def tombstones(self, copy: Copy) -> int:
        return max(0, self._tombstones.get(copy_prefix(copy), 0))

    def may_hold_dead(self, copy: Copy, mark_ms: int) -> bool:
        """Whether something of the copy may be forgotten at a watermark of this time."""
        return 0 < self._first.get(copy_prefix(copy), 0) <= mark_ms

    @property
    def total(self) -> int:
        """Objects of all copies that hold no value."""
        return max(0, sum(self._tombstones.values()))
