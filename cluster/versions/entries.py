"""An entry of a map: its name and its value in the bytes of one sibling.

Of an entry that was put several times at the same time the newest put decides, before anything else does:
once it has expired, the entry is gone, though an older put without a ttl may be left.

Pure.  Rule V10: docs/protocol/versions.md.  Layout: docs/formats/object.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from ringmill.cluster.errors import CorruptData

__all__ = ["entry_bytes", "entry_data", "entry_name", "newest_of_each"]

_LENGTH_BYTES: Final = 2


class _Valued(Protocol):
    @property
    def value(self) -> bytes | None: ...


V = TypeVar("V", bound=_Valued)


def entry_bytes(name: bytes, data: bytes) -> bytes:
    return len(name).to_bytes(_LENGTH_BYTES, "big") + name + data


def entry_name(entry: bytes) -> bytes:
    """The name of a map's entry.  Raises CorruptData."""
    end = _LENGTH_BYTES + int.from_bytes(entry[:_LENGTH_BYTES], "big")
    if len(entry) < max(end, _LENGTH_BYTES + 1):
        raise CorruptData(f"a value of {len(entry)} bytes is not an entry of a map")
    return entry[_LENGTH_BYTES:end]


def entry_data(entry: bytes) -> bytes:
    """Raises CorruptData."""
    return entry[_LENGTH_BYTES + len(entry_name(entry)) :]


def newest_of_each(newest_first: Iterable[V]) -> tuple[V, ...]:
    """The newest sibling of each entry, without tombstones.  What is not an entry is kept as if it were."""
    found: dict[tuple[bool, bytes], V] = {}
    for sibling in newest_first:
        if sibling.value is not None:
            found.setdefault(_named(sibling.value), sibling)
    return tuple(found.values())


def _named(value: bytes) -> tuple[bool, bytes]:
    try:
        return True, entry_name(value)
    except CorruptData:
        return False, value
