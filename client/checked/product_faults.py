"""Errors that say of the product that it is wrong, whatever its nodes meet: no fault of a run excuses them.

What gRPC itself says of a connection that ended, and no node has said, is none of them: INTERNAL is what a
client calls a status of gRPC that means nothing to it (cluster/adapters/network/grpc_errors.py).
"""

from __future__ import annotations

from typing import Final

__all__ = ["is_product_fault"]

_NEVER: Final = frozenset({"INTERNAL", "INVALID_ARGUMENT", "PERMISSION_DENIED", "PROTOCOL_MISMATCH", "STALE"})
_DAMAGED: Final = "CORRUPT_DATA"
_UNTOLD: Final = "INTERNAL"
_BY_GRPC: Final = "(gRPC "


def is_product_fault(error: str, *, is_damaged: bool = False) -> bool:
    """Whether `error`, a code and its text, is one.  `is_damaged`: something has destroyed bytes by then, so
    damaged data is none."""
    code = error.partition(":")[0]
    if code == _DAMAGED:
        return not is_damaged
    return code in _NEVER and not (code == _UNTOLD and _BY_GRPC in error)
