"""Dots and version vectors: the names of write events, and sets of them.

A dot names one write of one key: the copy that coordinated it, and that copy's count.  A vector entry
(actor, n) stands for every dot of that actor up to n, so an actor that may have forgotten some of its dots
is never used again (node/replica/actors.py).

Source: Almeida et al., "Scalable and Accurate Causality Tracking for Eventually Consistent Stores" (2014).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ringmill.cluster.ids import FIRST_EPOCH, Actor, Epoch, NodeId, Start

__all__ = ["EMPTY_VECTOR", "Dot", "VersionVector", "actor_of", "parse_dot"]

BOOT_DIGITS: Final = 10
_MANY: Final = 16  # entries of two vectors from which on they are not compared one by one


class Dot(NamedTuple):
    """One write event.  Dots sort by actor text, then count: arbitrary, but the same everywhere."""

    actor: Actor
    counter: int

    def __str__(self) -> str:
        return f"{self.actor}:{self.counter}"


def parse_dot(text: str) -> Dot:
    """The dot that str() has shown.  Raises ValueError."""
    actor, colon, counter = text.rpartition(":")
    if not colon or "#" not in actor or not counter.isdecimal():
        raise ValueError(f"{text[:80]!r} is not a dot")
    return Dot(Actor(actor), int(counter))


def actor_of(node: NodeId, start: Start, copy_epoch: Epoch = FIRST_EPOCH) -> Actor:
    """The actor of a copy in one start of a node, e.g. "n1#7.9f31c0aa52".

    40 bits of the boot id keep apart two starts that a rolled-back folder has given the same number.  Copies
    that later epochs brought are named by their epoch, too.
    """
    later = "" if copy_epoch == FIRST_EPOCH else f".{copy_epoch}"
    return Actor(f"{node}#{start.number}.{start.boot[:BOOT_DIGITS]}{later}")


class VersionVector(NamedTuple):
    """A set of dots in which each actor's are covered up to a count.  Entries are sorted by actor."""

    entries: tuple[tuple[Actor, int], ...] = ()

    @classmethod
    def of(cls, entries: Iterable[tuple[Actor, int]]) -> VersionVector:
        """The vector that covers all of `entries`."""
        counts: dict[Actor, int] = {}
        for actor, counter in entries:
            counts[actor] = max(counter, counts.get(actor, 0))
        return cls(tuple(sorted(counts.items())))

    def counter(self, actor: Actor) -> int:
        """The highest covered count of an actor, 0 when it is not in here."""
        for known, counter in self.entries:
            if known == actor:
                return counter
        return 0

    def covers(self, dot: Dot) -> bool:
        return dot.counter <= self.counter(dot.actor)

    def join(self, other: VersionVector) -> VersionVector:
        """The least vector that covers both."""
        if self.entries == other.entries or not other.entries:
            return self
        if not self.entries or (len(self.entries) <= len(other.entries) and other.covers_all(self)):
            return other
        return VersionVector.of((*self.entries, *other.entries))

    def covers_all(self, other: VersionVector) -> bool:
        """Whether every dot of `other` is in here."""
        if len(self.entries) > _MANY < len(other.entries):
            counts = dict(self.entries)
            return all(counts.get(actor, 0) >= counter for actor, counter in other.entries)
        for actor, counter in other.entries:  # noqa: SIM110 - most have one entry, and a loop is faster then
            if self.counter(actor) < counter:
                return False
        return True

    def common(self, other: VersionVector) -> VersionVector:
        """The dots that are in both."""
        counts = dict(other.entries)
        both = [(actor, min(counter, counts.get(actor, 0))) for actor, counter in self.entries]
        return VersionVector(tuple(entry for entry in both if entry[1]))

    def with_dot(self, dot: Dot) -> VersionVector:
        entries = self.entries
        if len(entries) == 1 and entries[0][0] == dot.actor and entries[0][1] < dot.counter:
            return VersionVector((dot,))
        return self.join(VersionVector((dot,)))


EMPTY_VECTOR = VersionVector()
