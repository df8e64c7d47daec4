"""How much memory buffered records take, estimated from samples.

Pure.  Measuring each record would cost more than mapping it, so one in a batch is measured and stands for
the others of its batch.  Batches are short, and shorter when records are large, as a file may hold short
records first and long ones behind them: the buffer overshoots its bound by one batch at most.

Sizes decide where a buffer ends, and with that which values are combined together.  So they follow from the
values alone, and not from what was done with them before: a text is counted by its characters, as Python
keeps the UTF-8 of one that was packed and adds it to what `getsizeof` tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from sys import getsizeof
from types import NoneType
from typing import Any, Final, TypeVar

__all__ = ["BLOWUP", "GROUP_OVERHEAD", "RecordSizes", "bounded_batches", "footprint"]

T = TypeVar("T")

BATCH_BYTES: Final = 1 << 20
FIRST_STRIDE: Final = 4
LAST_STRIDE: Final = 64
MAX_BATCH: Final = 256
_FIRST_BATCH: Final = 16
_DEPTH: Final = 4
BLOWUP: Final = 8
"""Bytes of Python objects that a byte of msgpack becomes, about."""
GROUP_OVERHEAD: Final = 180  # a dict entry and a list
_SLOT: Final = 8
_ASCII_TEXT: Final = 49  # beside its characters, as of others
_OTHER_TEXT: Final = 72
_HOLD_NOTHING: Final = frozenset({str, bytes, int, float, bool, NoneType})
"""Types of which the size is all: what most keys and values are, told without looking for more."""


def footprint(value: Any, depth: int = _DEPTH) -> int:
    """Bytes of a value and, to some depth, of what it holds: the same however the value was used before."""
    if isinstance(value, str):
        return _of_text(value)
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


def bounded_batches(
    items: Iterator[T], most: int, taken: Callable[[Iterator[T]], list[T]] = list
) -> Iterator[list[T]]:
    """Lists of at most this many of them, and of about 1 MiB: one of each stride stands for the others.

    `taken` makes the list of a stride.  Where batches end follows from the sizes of Python's objects, so
    nothing that is written may depend on it.
    """
    stride = FIRST_STRIDE
    while True:
        batch: list[T] = []
        size = 0
        while len(batch) < most and size < BATCH_BYTES:
            more = taken(islice(items, min(stride, most - len(batch))))
            if not more:
                break
            batch += more
            one = footprint(more[-1])
            size += one * len(more)
            stride = max(1, min(2 * stride, LAST_STRIDE, BATCH_BYTES // 16 // one))
        if not batch:
            return
        yield batch


def _of_text(text: str) -> int:
    """What it takes when nobody has asked for its UTF-8: 1, 2 or 4 bytes a character, by the widest."""
    length = len(text)
    if text.isascii():
        return _ASCII_TEXT + length
    try:
        text.encode("latin-1")
        width = 1
    except UnicodeEncodeError:
        width = 2 if len(text.encode("utf-16-le", "surrogatepass")) == 2 * length else 4
    return _OTHER_TEXT + width * (length + 1)


def _all_of(values: Collection[Any], depth: int) -> int:
    """Their footprints together; what most rows are made of costs no call a value."""
    types = set(map(type, values))
    if types == {str}:
        return sum(map(_of_text, values))
    if str not in types and types <= _HOLD_NOTHING:
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
