"""A histogram of latencies: log-linear buckets, so that a percentile is exact to within 1 % at any size.

The highest bits of a value in nanoseconds choose its bucket, as in HdrHistogram: 7 of them for the figures of
a benchmark, fewer where many histograms are kept.  Recording takes constant time and memory.  Histograms of
several runs can be added; percentiles cannot.  A histogram that only grows can be subtracted from its later
self, which leaves what happened in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

__all__ = ["PERCENTILES", "Histogram"]

PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}

_BITS: Final = 7
_LONGEST_BITS: Final = 46
_LONGEST_NS: Final = (1 << _LONGEST_BITS) - 1  # 19 hours


class Histogram:
    """Counts of latencies in nanoseconds.  A latency above 19 hours counts as 19 hours.

    With fewer `bits` a percentile may be too high by more than 1 %: by 1 in 2**bits.
    """

    __slots__ = ("_bits", "_counts", "count", "max_ns", "sum_ns")

    def __init__(self, bits: int = _BITS) -> None:
        self._bits = bits
        self._counts = [0] * ((_LONGEST_BITS + 1 - bits) << bits)
        self.count = 0
        self.max_ns = 0
        self.sum_ns = 0

    def record(self, latency_ns: int) -> None:
        """Count one latency.  A negative one counts as 0."""
        value = latency_ns
        if not 0 <= value <= _LONGEST_NS:
            value = min(max(value, 0), _LONGEST_NS)
        bits = self._bits
        shift = value.bit_length() - bits - 1
        bucket = (shift << bits) + (value >> shift) if shift > 0 else value
        self._counts[bucket] += 1
        self.count += 1
        self.sum_ns += value
        if value > self.max_ns:  # noqa: PLR1730 - faster than max()
            self.max_ns = value

    def add(self, other: Histogram) -> None:
        """Add the counts of `other`, which has as many bits."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.sum_ns += other.sum_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def since(self, earlier: Histogram) -> Histogram:
        """What was recorded since it was as `earlier`; all of it when it has been begun anew meanwhile.

        The highest latency is that of the whole time: which of them came last is not known.
        """
        counts = [ours - theirs for ours, theirs in zip(self._counts, earlier._counts, strict=True)]
        if min(counts) < 0:
            return self
        left = Histogram(self._bits)
        left._counts = counts
        left.count, left.sum_ns = sum(counts), max(0, self.sum_ns - earlier.sum_ns)
        left.max_ns = self.max_ns
        return left

    def percentile_ns(self, share: float) -> int:
        """The percentile of `share` (0 to 1), at most 1 % too high; 0 for an empty histogram."""
        wanted = max(1, -int(-self.count * share // 1))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(self._highest(bucket), self.max_ns)
        return self.max_ns if self.count else 0

    def percentiles_ms(self) -> dict[str, float]:
        """The usual percentiles by name, in milliseconds."""
        return {name: self.percentile_ns(share) / 1e6 for name, share in PERCENTILES.items()}

    def at_most(self, bounds_ns: Sequence[int]) -> list[int]:
        """How many latencies are below each of these bounds, which ascend.

        It is exact for bounds at which a bucket ends, such as powers of two.
        """
        found: list[int] = []
        seen = bucket = 0
        for bound in bounds_ns:
            while bucket < len(self._counts) and self._highest(bucket) < bound:
                seen += self._counts[bucket]
                bucket += 1
            found.append(seen)
        return found

    @property
    def filled(self) -> dict[int, int]:
        """The buckets that are not empty, by the highest latency that they count, in nanoseconds."""
        return {self._highest(at): count for at, count in enumerate(self._counts) if count}

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it."""
        return {
            "count": self.count,
            "max_ns": self.max_ns,
            "sum_ns": self.sum_ns,
            "buckets_ns": {str(highest): count for highest, count in self.filled.items()},
        }

    @classmethod
    def of(cls, written: Mapping[str, object]) -> Histogram:
        """The histogram that `to_dict` wrote."""
        buckets = written["buckets_ns"]
        assert isinstance(buckets, Mapping)
        max_ns, sum_ns = (int(str(written[name])) for name in ("max_ns", "sum_ns"))
        return cls.of_buckets(((int(at), int(count)) for at, count in buckets.items()), sum_ns, max_ns)

    @classmethod
    def of_buckets(
        cls, filled: Iterable[tuple[int, int]], sum_ns: int, max_ns: int, bits: int = _BITS
    ) -> Self:
        """The histogram with these `filled` buckets."""
        histogram = cls(bits)
        for highest, count in filled:
            value = min(max(highest, 0), _LONGEST_NS)
            shift = max(0, value.bit_length() - bits - 1)
            histogram._counts[(shift << bits) + (value >> shift)] += count
            histogram.count += count
        histogram.sum_ns, histogram.max_ns = sum_ns, max_ns
        return histogram

    def _highest(self, bucket: int) -> int:
        """The highest value that a bucket counts.  Buckets are twice as wide for values twice as high."""
        shift = max(0, (bucket >> self._bits) - 1)
        return ((bucket - (shift << self._bits) + 1) << shift) - 1
