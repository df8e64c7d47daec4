"""How slowly a sweep goes.  Pure.

A sweep that finds nothing goes at a fortieth of its most keys a second, so that a cluster at rest stays at
rest.  The more of what it looks at is to be removed, the faster it goes, as a Redis does: at full speed from
a quarter on.  It rests at least as long as it works, so it slows down when the cluster is busy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Looked", "rest_s"]

LEAST_PART: Final = 1 / 40
ENOUGH_SHARE: Final = 1 / 4
BYTES_OF_A_KEY: Final = 16 * 1024
"""This number of bytes that were read counts as one key more."""


class Looked(NamedTuple):
    """At how many keys a sweep has looked, how many of these it has removed, and what it has read."""

    keys: int
    removed: int
    read_bytes: int
    took_s: float


def rest_s(looked: Looked, most_keys_s: float) -> float:
    """For how long it does nothing before it goes on."""
    share = looked.removed / max(1, looked.keys)
    keys_s = most_keys_s * min(1.0, max(LEAST_PART, share / ENOUGH_SHARE))
    lasts_s = (looked.keys + looked.read_bytes / BYTES_OF_A_KEY) / keys_s
    return max(looked.took_s, lasts_s - looked.took_s)
