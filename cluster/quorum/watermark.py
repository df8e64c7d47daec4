"""The proof of a watermark among the owners of a partition, as each of them and the one that leads see it.

An attempt has a name and a watermark T.  Each owner *notes* it; the owners are compared; each one that has
accepted nothing at or below T from elsewhere meanwhile *keeps* it, durably; when all have kept it, it is
*proven*.  The outcome of an attempt follows from what the owners have on their disks, whoever lives: it is
proven when all have kept it, and dead when one has not and never will.

- A note is in memory only: an owner that starts again has none, and keeps nothing.
- The answer to a note has a token of its own, and only a caller that shows it may have the owner keep the
  attempt: so a copy of a message that comes late makes no owner keep what it did not watch from the
  beginning.
- An owner that has kept an attempt takes no other one until it knows what came of it.

Pure.  Rule P2: docs/protocol/deletes.md.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from ringmill.cluster.ids import Epoch
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime

__all__ = ["Fate", "Kept", "Note", "OwnerWatermark", "fate_of"]


class Fate(IntEnum):
    """What an owner says of an attempt."""

    OPEN = 0  # kept here; whether by all is not known
    PROVEN = 1
    DEAD = 2  # not kept here, and never will be
    SILENT = 3  # the owner did not answer


class Kept(NamedTuple):
    """What an owner has on its disk: the proven watermark, the attempt that proved it, and one that it has
    kept and whose outcome it does not know ("" when there is none)."""

    proven: HybridTime = ZERO
    proof: str = ""
    attempt: str = ""
    watermark: HybridTime = ZERO
    row_epoch: Epoch = Epoch(0)


@dataclass(slots=True)
class Note:
    """An attempt that an owner watches."""

    attempt: str
    watermark: HybridTime
    row_epoch: Epoch
    token: str
    is_void: bool = False


class OwnerWatermark:
    """The watermark of one partition at one owner."""

    def __init__(self, kept: Kept = Kept()) -> None:  # noqa: B008 - it is immutable
        self.kept = kept
        self.note: Note | None = None

    @property
    def proven(self) -> HybridTime:
        """At or below this what is dead may be forgotten."""
        return self.kept.proven

    @property
    def closed(self) -> HybridTime:
        """At or below this nothing new is accepted from elsewhere."""
        return HybridTime(max(self.kept.proven, self.kept.watermark))

    @property
    def watched(self) -> HybridTime:
        """At or below this the owner has to look at what it accepts, and no fresh write is stamped."""
        return self.closed if self.note is None else HybridTime(max(self.closed, self.note.watermark))

    def write_down(self, note: Note) -> None:
        """Watch an attempt; the one before is watched no more."""
        assert not self.kept.attempt, f"attempt {self.kept.attempt} is open"
        self.note = note

    def void(self, attempt: str) -> bool:
        """Make the noted attempt void, as something at or below its watermark came from elsewhere than the
        exchange of `attempt`.  Returns whether it was not void before."""
        note = self.note
        if note is None or note.is_void or note.attempt == attempt:
            return False
        note.is_void = True
        return True

    def has_kept(self, attempt: str) -> bool:
        return attempt in (self.kept.attempt, self.kept.proof)

    def may_keep(self, attempt: str, token: str, row_epoch: Epoch) -> str:
        """Why this owner does not keep the attempt, and never will; "" when it may."""
        if self.has_kept(attempt):
            return ""  # asked twice
        note = self.note
        if note is None or (note.attempt, note.token) != (attempt, token):
            return "it does not watch this attempt"
        if note.is_void:
            return "it accepted an older version meanwhile"
        if note.row_epoch != row_epoch:
            return "the owners have changed meanwhile"
        return ""

    def keep(self, attempt: str) -> None:
        """The attempt, which it may keep, is kept from now on; durable once `kept` is stored."""
        note = self.note
        if note is None or note.attempt != attempt:
            return  # it was kept before; another one may be noted by now
        assert not note.is_void, "there is nothing to be kept"
        self.kept = self.kept._replace(
            attempt=note.attempt, watermark=note.watermark, row_epoch=note.row_epoch
        )
        self.note = None

    def give_up(self, attempt: str) -> None:
        """This owner will never keep the attempt, if it has not done so."""
        if self.note is not None and self.note.attempt == attempt:
            self.note = None

    def record_fate(self, attempt: str, fate: Fate) -> bool:
        """Record what came of an attempt.  Returns whether that changes what is to be stored."""
        kept = self.kept
        if kept.attempt != attempt or fate not in (Fate.PROVEN, Fate.DEAD):
            return False
        self.kept = Kept(kept.watermark, attempt) if fate is Fate.PROVEN else Kept(kept.proven, kept.proof)
        return True

    def fate(self, attempt: str) -> Fate:
        """What this owner says of an attempt.  DEAD is a promise: it gives up what it may have noted."""
        if self.kept.attempt == attempt:
            return Fate.OPEN
        if self.kept.proof == attempt:
            return Fate.PROVEN
        self.give_up(attempt)
        return Fate.DEAD


def fate_of(others: Collection[Fate], *, is_same_row: bool) -> Fate:
    """What came of an attempt that this owner has kept, from what all other owners say.

    Once the owners have changed, one that never heard of it may sit where one has kept it, and another may
    have forgotten something already: then all have to be heard before it is dead.  Who sits where another one
    did has not kept it, so where all have, they are those that noted it.
    """
    if Fate.PROVEN in others:
        return Fate.PROVEN
    if Fate.DEAD in others:
        return Fate.DEAD if is_same_row or Fate.SILENT not in others else Fate.OPEN
    return Fate.OPEN if Fate.SILENT in others else Fate.PROVEN
