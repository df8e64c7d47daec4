"""How many objects of each copy hold no value, and when the first value of it expires.

In memory, kept with every change and made anew by the scan that counts what is stored.  It says where there
may be something to purge, so that copies without deletes are never scanned for them.
"""

from __future__ import annotations

from ringmill.node.replica.stored_key import COPY_PREFIX_BYTES, Copy, copy_prefix

__all__ = ["DeadCounts"]


class DeadCounts:
    def __init__(self) -> None:
        self._tombstones: dict[bytes, int] = {}  # by the copy's prefix
        self._expiries: dict[bytes, int] = {}  # the earliest, in ms since 1970

    def clear(self) -> None:
        """A count of everything begins."""
        self._tombstones.clear()
        self._expiries.clear()

    def change(self, stored_key: bytes, tombstones: int) -> None:
        """An object lost its last value (1), or has one again or is gone (-1)."""
        prefix = stored_key[:COPY_PREFIX_BYTES]
        self._tombstones[prefix] = self._tombstones.get(prefix, 0) + tombstones

    def expires(self, stored_key: bytes, expires_at_ms: int) -> None:
        """A value of this object expires then."""
        prefix = stored_key[:COPY_PREFIX_BYTES]
        former = self._expiries.get(prefix, expires_at_ms)
        self._expiries[prefix] = min(former, expires_at_ms)

    def scanned(self, copy: Copy, first_expiry_ms: int) -> None:
        """A scan of the copy has found this as the first expiry that is still to come; 0: none."""
        prefix = copy_prefix(copy)
        self._expiries.pop(prefix, None)
        if first_expiry_ms:
            self._expiries[prefix] = first_expiry_ms

    def tombstones(self, copy: Copy) -> int:
        return max(0, self._tombstones.get(copy_prefix(copy), 0))

    def may_hold_dead(self, copy: Copy, now_ms: int) -> bool:
        """Whether something of the copy is deleted, or has expired by `now_ms`."""
        prefix = copy_prefix(copy)
        return self._tombstones.get(prefix, 0) > 0 or 0 < self._expiries.get(prefix, 0) <= now_ms

    @property
    def total(self) -> int:
        """Objects of all copies that hold no value."""
        return max(0, sum(self._tombstones.values()))
