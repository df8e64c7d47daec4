"""The Entropy door on the operating system's generator.

The names of the streams matter to a seeded world only; here all of them are the same unpredictable source.
See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import os

__all__ = ["OsEntropy"]

_FLOAT_BITS = 53  # of a double's mantissa: every float drawn is exact, and 1.0 is never reached


class OsEntropy:
    """Randomness that nobody can predict or replay."""

    def random_bytes(self, purpose: str, size: int) -> bytes:
        """`size` bytes of os.urandom."""
        return os.urandom(size)

    def uniform(self, purpose: str) -> float:
        """A float in [0, 1)."""
        return (int.from_bytes(os.urandom(7), "big") >> (56 - _FLOAT_BITS)) / (1 << _FLOAT_BITS)
