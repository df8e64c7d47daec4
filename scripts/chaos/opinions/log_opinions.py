"""What nodes think of each other, read from their logs: each change of an opinion is a line there.

Unlike a status that is asked for now and then, a log misses no change.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

__all__ = ["Change", "Counts", "changes_in", "counted", "seen_down_by"]

_CHANGE: Final = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) INFO +\S*liveness  (\S+) is (up|suspect|down)", re.ASCII
)
_DOUBT: Final = "doubts itself after standing still"


@dataclass(frozen=True, slots=True)
class Change:
    """From `at` on, in seconds of the wall clock, `observer` takes `node` for `state`."""

    at: float
    observer: str
    node: str
    state: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of the opinions about nodes that all live.

    `suspicions` are opinions that began; each was `refuted`, `died` or is `open`.  One false suspicion counts
    once for each node that shares it.  `stalls` are the times that a loop stood still and its node doubted
    itself.
    """

    suspicions: int
    refuted: int
    died: int
    stalls: int

    @property
    def open(self) -> int:
        return self.suspicions - self.refuted - self.died


def changes_in(observer: str, lines: Iterable[str]) -> list[Change]:
    """The changes that a node's log tells of; times are those of this machine's zone, to 1 ms."""
    found = (_CHANGE.match(line) for line in lines)
    return [
        Change(datetime.strptime(told[1], "%Y-%m-%d %H:%M:%S,%f").timestamp(), observer, told[2], told[3])
        for told in found
        if told
    ]


def counted(changes: Sequence[Change], lines: Iterable[str], since: float, until: float) -> Counts:
    """What happened from `since` to `until`, while no node died.  `lines` are the logs since then.

    A node that was heard of as down, without a suspicion before, counts as a suspicion that ended so.
    """
    held: dict[tuple[str, str], str] = {}
    suspicions = refuted = died = 0
    for change in sorted(changes, key=lambda each: each.at):
        pair = change.observer, change.node
        before = held.get(pair, "up")
        held[pair] = change.state
        if not since <= change.at < until:
            continue
        suspicions += before == "up"
        refuted += (before, change.state) == ("suspect", "up")
        died += change.state == "down"
    return Counts(suspicions, refuted, died, sum(_DOUBT in line for line in lines))


def seen_down_by(changes: Sequence[Change], node: str, since: float) -> dict[str, float]:
    """For each observer that saw `node` down after `since`: how many seconds after, when it first did."""
    return {
        change.observer: change.at - since
        for change in sorted(changes, key=lambda each: each.at, reverse=True)
        if change.node == node and change.state == "down" and change.at >= since
    }
