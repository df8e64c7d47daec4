"""Draws what a run of scans does: keys that their writers put and delete, and scans meanwhile.

Each key has one writer, which does one thing after the other.  So the order of the writes of a key is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.simulator.subjects.objects.workload import PlannedOperation

__all__ = ["KEYS", "PREFIXES", "WRITERS", "PlannedScan", "draw_scans", "draw_writes"]

TAGGED: Final = tuple(b"{t}%02d" % number for number in range(16))
"""All of one partition."""
KEYS: Final = (*TAGGED, *(b"a%02d" % number for number in range(16)), *(b"b%02d" % n for n in range(8)))
PREFIXES: Final = (b"", b"", b"{t}", b"{t}0", b"a", b"b")
WRITERS: Final = ("w0", "w1", "w2")
_WRITES: Final = 30
_DELETES: Final = 0.3
_STABLE: Final = 0.5
"""Share of the keys that are written once and not again: what a scan must show whatever happens."""


@dataclass(frozen=True, slots=True)
class PlannedScan:
    session: str
    prefix: bytes
    limit: int | None  # of keys of each page
    pause_s: float


def draw_writes(draws: Random, writer: str) -> list[PlannedOperation]:
    """First a put of each of its keys, then puts and deletes of some of them."""
    number = WRITERS.index(writer)
    own = [key for at, key in enumerate(KEYS) if at % len(WRITERS) == number]
    changing = draws.sample(own, round(len(own) * (1 - _STABLE)))
    asked = [(key, False) for key in draws.sample(own, len(own))]
    asked += [(draws.choice(changing), draws.random() < _DELETES) for _ in range(_WRITES)]
    return [
        PlannedOperation(
            index=index,
            session=writer,
            kind="delete" if deletes else "put",
            key=key,
            value=b"%s %d" % (writer.encode(), index),
            context="none",
            level="",
            durability="",
            pause_s=draws.choice((0.0, 0.02, 0.3)) * draws.random(),
        )
        for index, (key, deletes) in enumerate(asked)
    ]


def draw_scans(draws: Random, session: str, scans: int) -> list[PlannedScan]:
    return [
        PlannedScan(session, draws.choice(PREFIXES), draws.choice((None, 10, 3)), draws.random())
        for _ in range(scans)
    ]
