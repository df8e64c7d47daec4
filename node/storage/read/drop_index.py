"""Which keys the dropped prefixes hide.

A key is looked up once for each length of a prefix, however many prefixes were dropped.  A node that many
partitions leave has hundreds, of one length.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringmill.node.storage.version.version import Drop

__all__ = ["NO_DROPS", "DropIndex"]


class DropIndex:
    """False when there is no drop at all."""

    __slots__ = ("_by_length",)

    def __init__(self, drops: Iterable[Drop]) -> None:
        found: dict[int, dict[bytes, list[int]]] = {}
        for drop in drops:
            found.setdefault(len(drop.prefix), {}).setdefault(drop.prefix, []).append(drop.sequence)
        self._by_length = found

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def hides(self, key: bytes, found_at: int, sequence: int) -> bool:
        """Whether the version of sequence `found_at` was dropped, as of `sequence`."""
        for length, prefixes in self._by_length.items():
            dropped_at = prefixes.get(key[:length])
            if dropped_at is not None:
                for each in dropped_at:
                    if found_at <= each <= sequence:
                        return True
        return False

    def of(self, key: bytes) -> list[int]:
        """The sequences up to which the key was dropped."""
        lists = [prefixes.get(key[:length]) for length, prefixes in self._by_length.items()]
        return [sequence for each in lists if each for sequence in each]


NO_DROPS = DropIndex(())
