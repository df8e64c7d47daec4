"""The workloads A to F of YCSB, and plain puts and gets.

A workload is a mix of verbs and a key distribution.  E reads short ranges, as of the messages of a thread.
Keys are in order within a partition only, so those of E are in groups of one hash tag, and a scan is of a
part of a group.  Source: Cooper et al., "Benchmarking Cloud Serving Systems
with YCSB" (2010), table 2, and YCSB's own workload files.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ringmill.client.bench.keys import KeySpace, numbers

__all__ = [
    "GET",
    "INSERT",
    "MODIFY",
    "PUT",
    "SCAN",
    "SCAN_MOST",
    "WORKLOADS",
    "Operation",
    "Values",
    "Workload",
    "operations",
]

GET: Final = "get"
PUT: Final = "put"  # over a key that is there
INSERT: Final = "insert"
MODIFY: Final = "modify"  # get, then put
SCAN: Final = "scan"  # from a key on, 1 to SCAN_MOST keys of its group
SCAN_MOST: Final = 100

Operation = tuple[str, bytes]

_BLOB_BYTES: Final = 1 << 18
_CHUNK: Final = 4096


@dataclass(frozen=True, slots=True)
class Workload:
    """A mix of verbs by share.  `keys` is the key distribution that the workload requires, "" for none."""

    name: str
    mix: Mapping[str, float]
    keys: str = ""

    @property
    def group(self) -> int:
        """How many keys have one hash tag; 0: they have none."""
        return SCAN_MOST if SCAN in self.mix else 0


WORKLOADS: Final[Mapping[str, Workload]] = {
    one.name: one
    for one in (
        Workload("put", {PUT: 1.0}),
        Workload("get", {GET: 1.0}),
        Workload("a", {GET: 0.5, PUT: 0.5}),
        Workload("b", {GET: 0.95, PUT: 0.05}),
        Workload("c", {GET: 1.0}),
        Workload("d", {GET: 0.95, INSERT: 0.05}, keys="latest"),
        Workload("e", {SCAN: 0.95, INSERT: 0.05}),
        Workload("f", {GET: 0.5, MODIFY: 0.5}),
    )
}


class Values:
    """Values of one size, cut from one block of random bytes, which is cheap."""

    __slots__ = ("_at", "_blob", "size_bytes")

    def __init__(self, size_bytes: int, seed: int = 7) -> None:
        self.size_bytes = size_bytes
        self._blob = random.Random(seed).randbytes(_BLOB_BYTES + size_bytes)
        self._at = 0

    def next(self) -> bytes:
        self._at = (self._at + 4099) % _BLOB_BYTES  # a prime step: values repeat after 2**18
        return self._blob[self._at : self._at + self.size_bytes]


def operations(workload: Workload, distribution: str, space: KeySpace, seed: int) -> Iterator[Operation]:
    """An endless series of operations.  Raises ValueError for an unknown distribution."""
    drawn = numbers(workload.keys or distribution, space, seed)
    for verb in _verbs(workload.mix, random.Random(seed + 1)):
        yield verb, space.key(space.grow() if verb == INSERT else next(drawn))


def _verbs(mix: Mapping[str, float], drawn: random.Random) -> Iterator[str]:
    names, shares = list(mix), list(mix.values())
    while True:
        yield from drawn.choices(names, weights=shares, k=_CHUNK)
