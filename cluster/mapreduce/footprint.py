"""How much memory buffered records take, estimated from samples.

Pure.  Measuring each record would cost more than mapping it, so one in a batch is measured and the batch is
made smaller when records are large: the buffer overshoots its bound by one batch at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from sys import getsizeof
from typing import Any, Final

__all__ = ["RecordSizes", "footprint"]

MAX_BATCH: Final = 4096
_FIRST_BATCH: Final = 16
_DEPTH: Final = 4
_GROUP_OVERHEAD: Final = 180  # a dict entry and a list
_SLOT: Final = 8


def footprint(value: Any, depth: int = _DEPTH) -> int:
    """Bytes of a value and, to some depth, of what it holds."""
    size = getsizeof(value)
    if depth and isinstance(value, list | tuple):
        return size + sum(footprint(item, depth - 1) for item in value)
    if depth and isinstance(value, Mapping):
        return size + sum(footprint(k, depth - 1) + footprint(v, depth - 1) for k, v in value.items())
    if depth and dataclasses.is_dataclass(value):
        return size + sum(footprint(getattr(value, f.name), depth - 1) for f in dataclasses.fields(value))
    return size


class RecordSizes:
    """Running means of key and value sizes, and how many records may be buffered before the next look."""

    __slots__ = ("_key", "_limit", "_value", "batch")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._key = self._value = 0.0
        self.batch = _FIRST_BATCH

    def sample(self, key: Any, value: Any) -> None:
        """Learn from one record; the means follow the last dozens."""
        weight = 1.0 if not self._value else 0.05
        self._key += weight * (footprint(key) - self._key)
        self._value += weight * (footprint(value) + _SLOT - self._value)
        room = int(self._limit / 16 / (self._key + self._value))
        self.batch = max(1, min(2 * self.batch, room, MAX_BATCH))

    def estimate(self, keys: int, values: int) -> int:
        """Bytes that so many distinct keys with so many values take."""
        return int(keys * (self._key + _GROUP_OVERHEAD) + values * self._value)
