"""The name under which a key of a database is kept: Redis takes an empty key, and the cluster does not.

A key of zero bytes only is kept under a name with one more of them, so the empty key under one.  All others
are their own names.  A name begins with what its key begins with, so scans by a prefix find it.
"""

from __future__ import annotations

__all__ = ["key_named", "kept_name"]

_ZERO = b"\0"


def kept_name(key: bytes) -> bytes:
    """The name of a key."""
    return key if key[:1] > _ZERO or key.strip(_ZERO) else key + _ZERO


def key_named(name: bytes) -> bytes:
    """The key that has this name."""
    return name if name[:1] > _ZERO or name.strip(_ZERO) else name[1:]
