"""How much memory buffered records take, estimated from samples.

Pure.  Measuring each record would cost more than mapping it, so one in a batch is measured and stands for
the others of its batch.  Batches are short, and shorter when records are large, as a file may hold short
records first and long ones behind them: the buffer overshoots its bound by one batch at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from sys import getsizeof
from types import NoneType
from typing import Any, Final

__all__ = ["GROUP_OVERHEAD", "RecordSizes", "footprint"]

MAX_BATCH: Final = 256
_FIRST_BATCH: Final = 16
_DEPTH: Final = 4
GROUP_OVERHEAD: Final = 180  # a dict entry and a list
_SLOT: Final = 8
_HOLD_NOTHING: Final = frozenset({str, bytes, int, float, bool, NoneType})
"""Types of which the size is all: what most keys and values are, told without looking for more."""


def footprint(value: Any, depth: int = _DEPTH) -> int:
    """Bytes of a value and, to some depth, of what it holds."""
    size = getsizeof(value)
    if type(value) in _HOLD_NOTHING:
        return size
    if depth and isinstance(value, list | tuple):
        return size + _all_of(value, depth - 1)
    if depth and isinstance(value, Mapping):
        return size + _all_of(value.keys(), depth - 1) + _all_of(value.values(), depth - 1)
    if depth and dataclasses.is_dataclass(value):
        return size + sum(footprint(getattr(value, f.name), depth - 1) for f in dataclasses.fields(value))
    return size


def _all_of(values: Collection[Any], depth: int) -> int:
    """Their footprints together; what most rows are made of costs no call a value."""
    if _HOLD_NOTHING.issuperset(map(type, values)):
        return sum(map(getsizeof, values))
    return sum(footprint(each, depth) for each in values)


class RecordSizes:
    """What the buffered records take, by the samples of their batches; and how long the next batch may be."""

    __slots__ = ("_key", "_limit", "_value", "_values_bytes", "batch")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._key = self._value = 0.0  # means that follow the last dozens of samples
        self._values_bytes = 0.0  # of the values in the buffer
        self.batch = _FIRST_BATCH

    def sample(self, key: Any, value: Any) -> None:
        """Learn from one record, the first of a batch that goes into the buffer."""
        weight = 1.0 if not self._value else 0.05
        key_bytes, value_bytes = footprint(key), footprint(value) + _SLOT
        self._key += weight * (key_bytes - self._key)
        self._value += weight * (value_bytes - self._value)
        room = int(self._limit / 16 / (key_bytes + value_bytes))
        self.batch = max(1, min(2 * self.batch, room, MAX_BATCH))
        self._values_bytes += self.batch * value_bytes

    def kept(self, values: int) -> None:
        """The buffer was folded or emptied: this many values are left, of the mean size."""
        self._values_bytes = values * self._value

    def combined(self, values: Sequence[Any]) -> None:
        """The buffer was combined: these values are left, which may be larger than those that came."""
        self._values_bytes = footprint(values, _DEPTH + 1)

    def estimate(self, keys: int, overhead: int = GROUP_OVERHEAD) -> int:
        """Bytes that the buffer takes when it has this many keys, with `overhead` bytes beside each."""
        return int(keys * (self._key + overhead) + self._values_bytes)
