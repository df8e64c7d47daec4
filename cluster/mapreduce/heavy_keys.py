"""Keys with far more records than others: one reduce has them all, so it has more to do than the others.

Each map tells of the heaviest keys that it has left, 8 at most; a coordinator adds up what they tell.  A map
looks at what its buffer holds when it writes it: it knows how many values a key has where they lie in a list,
and takes every 17th record where they do not.  A key below a quarter of the mean of the reduces is not told,
so what is known of a key that is named is too low by a quarter of that mean at most.  Where values are
combined, a key leaves a map with few records however often it came: it is none of these.

Pure.  User code shares the process that tells of them, so texts and numbers have bounds.  They decide
nothing.  See: docs/formats/job.md, "Heavy keys".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any, Final, NamedTuple

from ringmill.cluster.mapreduce.well_formed import text, whole_number

__all__ = ["KEY_CHARS", "MOST_TOLD", "HeavyKey", "KeyShare", "KeyTotals", "KeyWeights", "heavy_from_wire"]

MOST_TOLD: Final = 8  # keys of one map, and of a job
KEY_CHARS: Final = 60  # of a key, as Python writes it
LEAST_OF_A_MAP: Final = 100  # records of a key that a map tells of: below that nobody waits for it
LEAST_OF_A_JOB: Final = 10_000  # records of a key that is named: a reduce does them in hundredths of a second
QUARTER: Final = 4
SAMPLED: Final = 17  # records of which one is looked at: a prime, as inputs may go round every 10 or 16
_MOST_HELD: Final = 1024  # keys that a map remembers from one spill to the next, the heaviest
_MOST_HELD_BYTES: Final = 1 << 20  # of these; but for the MOST_TOLD heaviest
_MOST_RECORDS: Final = 1 << 46
_MOST_DIGEST: Final = (1 << 64) - 1


class HeavyKey(NamedTuple):
    """A key of one map's output.  `records` of it are in `partition`; `digest` tells it from others whose
    texts begin alike."""

    digest: int
    key: str
    partition: int
    records: int


class KeyShare(NamedTuple):
    """A key that is named: `records` of it are in the input of a reduce ("reduce-3"), which is `share`, 0 to
    1, of what all reduces of the stage read."""

    key: str
    task: str
    records: int
    share: float


class KeyWeights:
    """The heaviest keys of one map task, told of its encoded keys each time that it writes its buffer."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._held: Counter[bytes] = Counter()

    def take_lists(self, keys: Sequence[bytes], counts: Sequence[int]) -> None:
        """Keys, each once, with how many values they have."""
        if (least := self._least(sum(counts))) and max(counts, default=0) >= least:
            self._add((key, count) for key, count in zip(keys, counts, strict=True) if count >= least)

    def take_records(self, keys: Sequence[bytes]) -> None:
        """Keys, each as often as it has records."""
        if (least := self._least(len(keys))) and len(keys) >= least:
            seen = Counter(keys[::SAMPLED])
            self._add((key, SAMPLED * count) for key, count in seen.items() if SAMPLED * count >= least)

    def heaviest(self) -> list[tuple[bytes, int]]:
        """The keys, encoded, with their records: the heaviest first, of equals the smallest."""
        return _heaviest(self._held, MOST_TOLD)

    def _least(self, records: int) -> int:
        """Below how many of these records a key is not told; 0 where none is, as one reduce has all."""
        return max(LEAST_OF_A_MAP, records // (QUARTER * self._partitions)) if self._partitions > 1 else 0

    def _add(self, weighed: Iterable[tuple[bytes, int]]) -> None:
        for key, count in weighed:
            self._held[key] += count
        if len(self._held) > _MOST_HELD or sum(map(len, self._held)) > _MOST_HELD_BYTES:
            kept = Counter[bytes]()
            left = _MOST_HELD_BYTES
            for key, count in _heaviest(self._held, _MOST_HELD):
                left -= len(key)
                if left < 0 and len(kept) >= MOST_TOLD:
                    break
                kept[key] = count
            self._held = kept


def _heaviest(held: Counter[bytes], most: int) -> list[tuple[bytes, int]]:
    return sorted(held.items(), key=lambda each: (-each[1], each[0]))[:most]


@dataclass(slots=True)
class KeyTotals:
    """What the maps of a stage that count have told, together: the same whatever the order in which they
    came."""

    records: int = 0  # that the reduces will read
    _held: dict[tuple[int, int], int] = field(default_factory=dict)  # records, by partition and digest
    _texts: dict[tuple[int, int], str] = field(default_factory=dict)
    _named: tuple[int, tuple[KeyShare, ...]] | None = None  # what was found last: a job is looked at often

    def add(self, records: int, keys: Iterable[HeavyKey], *, times: int = 1) -> None:
        """What a map has left; with -1 no more what it had left before."""
        self.records += times * records
        self._named = None
        for each in keys:
            name = each.partition, each.digest
            self._held[name] = self._held.get(name, 0) + times * each.records
            self._texts[name] = each.key

    def named(self, partitions: int) -> tuple[KeyShare, ...]:
        """The keys that have as many records as the mean of the partitions, and LEAST_OF_A_JOB: the heaviest
        first."""
        if self._named is None or self._named[0] != partitions:
            self._named = partitions, tuple(self._find(partitions))
        return self._named[1]

    def _find(self, partitions: int) -> Iterator[KeyShare]:
        if partitions < 2 or not self.records:  # one reduce has everything
            return
        for name, records in nlargest(MOST_TOLD, self._held.items(), key=lambda each: (each[1], each[0])):
            if records >= max(LEAST_OF_A_JOB, self.records / partitions):
                share = min(1.0, records / self.records)
                yield KeyShare(self._texts[name], f"reduce-{name[0]}", records, share)


def heavy_from_wire(rows: Sequence[Any], records: Sequence[int]) -> tuple[HeavyKey, ...]:
    """What a map has told, each as a row of the fields of HeavyKey; `records` are those of its partitions,
    and no key has more: a sample may say a few too many.

    Raises ValueError or TypeError for what no attempt can have made.
    """
    if len(rows) > MOST_TOLD:
        raise ValueError(f"{len(rows)} heavy keys; a map tells of {MOST_TOLD}")
    keys = [_heavy_key(len(records), *row) for row in rows]
    if len({each.digest for each in keys}) < len(keys):
        raise ValueError("a heavy key is told twice")
    return tuple(each._replace(records=min(each.records, records[each.partition])) for each in keys)


def _heavy_key(partitions: int, digest: Any, key: Any, partition: Any, records: Any) -> HeavyKey:
    if len(text(key)) > KEY_CHARS:
        raise ValueError(f"the text of a heavy key has {len(key)} characters")
    return HeavyKey(
        whole_number(digest, most=_MOST_DIGEST),
        key,
        whole_number(partition, most=partitions - 1),
        whole_number(records, most=_MOST_RECORDS),
    )
