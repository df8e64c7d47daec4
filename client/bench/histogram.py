"""A histogram of latencies: log-linear buckets, so that a percentile is exact to within 1 % at any size.

The highest 7 bits of a value in nanoseconds choose its bucket, as in HdrHistogram.  Recording takes constant
time and memory.  Histograms of several runs can be added; percentiles cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["PERCENTILES", "Histogram"]

PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}

_BITS: Final = 7
_HALF: Final = 1 << _BITS  # values below are counted one by one
_BUCKETS: Final = _HALF * 40  # up to 2**46 ns, 19 hours
_LONGEST_NS: Final = (1 << (_BITS + 39)) - 1


class Histogram:
    """Counts of latencies in nanoseconds.  A latency above 19 hours counts as 19 hours."""

    __slots__ = ("_counts", "count", "max_ns")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.max_ns = 0

    def record(self, latency_ns: int) -> None:
        """Count one latency.  A negative one counts as 0."""
        value = min(max(latency_ns, 0), _LONGEST_NS)
        self._counts[_bucket(value)] += 1
        self.count += 1
        self.max_ns = max(self.max_ns, value)

    def add(self, other: Histogram) -> None:
        """Add the counts of `other`."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    def percentile_ns(self, share: float) -> int:
        """The percentile of `share` (0 to 1), at most 1 % too high; 0 for an empty histogram."""
        wanted = max(1, -int(-self.count * share // 1))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(_highest(bucket), self.max_ns)
        return self.max_ns

    def percentiles_ms(self) -> dict[str, float]:
        """The usual percentiles by name, in milliseconds."""
        return {name: self.percentile_ns(share) / 1e6 for name, share in PERCENTILES.items()}

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it: the buckets that are not empty, by the highest latency that they count."""
        return {
            "count": self.count,
            "max_ns": self.max_ns,
            "buckets_ns": {str(_highest(at)): count for at, count in enumerate(self._counts) if count},
        }

    @classmethod
    def of(cls, written: Mapping[str, object]) -> Histogram:
        """The histogram that `to_dict` wrote."""
        histogram = cls()
        buckets = written["buckets_ns"]
        assert isinstance(buckets, Mapping)
        for highest, count in buckets.items():
            histogram._counts[_bucket(int(highest))] = int(count)
        histogram.count, histogram.max_ns = (int(str(written[name])) for name in ("count", "max_ns"))
        return histogram


def _bucket(value: int) -> int:
    """The bucket of a value.  Buckets are twice as wide for values twice as high."""
    shift = max(0, value.bit_length() - _BITS - 1)
    return shift * _HALF + (value >> shift)


def _highest(bucket: int) -> int:
    """The highest value that a bucket counts."""
    shift = max(0, bucket // _HALF - 1)
    return ((bucket - shift * _HALF + 1) << shift) - 1
