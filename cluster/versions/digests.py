"""The digest of an object as it is encoded: what an owner tells of a large object first (rule G6).

Equal objects have equal bytes (docs/formats/object.md), so equal digests are equal objects.  A client chooses
the values, so the hash has to be one that nobody finds two inputs for.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

__all__ = ["DIGEST_BYTES", "RecentDigests", "digest_of"]

DIGEST_BYTES: Final = 16
_KEPT: Final = 4
_KEPT_FROM_BYTES: Final = 16 << 10  # to look for a smaller one costs as much as to hash it
_KEPT_BYTES: Final = 16 << 20


def digest_of(encoded: bytes) -> bytes:
    return blake2b(encoded, digest_size=DIGEST_BYTES).digest()


class RecentDigests:
    """Remembers the digests of the last large objects: many readers of one ask for the same again and again.

    Bytes are compared, ten times as fast as they are hashed; so a version that has changed is another object.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[bytes, bytes]] = deque()
        self._size_bytes = 0

    def of(self, encoded: bytes) -> bytes:
        if len(encoded) < _KEPT_FROM_BYTES:
            return digest_of(encoded)
        for kept, digest in self._kept:
            if kept is encoded or kept == encoded:
                return digest
        digest = digest_of(encoded)
        self._kept.append((encoded, digest))
        self._size_bytes += len(encoded)
        while len(self._kept) > _KEPT or (len(self._kept) > 1 and self._size_bytes > _KEPT_BYTES):
            self._size_bytes -= len(self._kept.popleft()[0])
        return digest
