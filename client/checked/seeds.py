"""Named streams of randomness from one seed: schedule, faults and workload do not disturb each other.

A stream's numbers depend on the seed and its name alone, never on `hash()`, so that they are the same in
every process and under every PYTHONHASHSEED.
"""

from __future__ import annotations

import hashlib
from random import Random

__all__ = ["seeded_stream"]


def seeded_stream(seed: int, name: str) -> Random:
    """A random generator for one purpose."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return Random(int.from_bytes(digest[:16], "big"))
