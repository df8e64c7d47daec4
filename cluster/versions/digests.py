"""The digest of an object as it is encoded: what an owner tells of a large object first (rule G6).

Equal objects have equal bytes (docs/formats/object.md), so equal digests are equal objects.  A client chooses
the values, so the hash has to be one that nobody finds two inputs for.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["DIGEST_BYTES", "digest_of"]

DIGEST_BYTES: Final = 16


def digest_of(encoded: bytes) -> bytes:
    return blake2b(encoded, digest_size=DIGEST_BYTES).digest()
