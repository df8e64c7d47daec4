"""Which journals of jobs are forgotten: one value tells it of all that there ever were.

The name of a journal has the term of the coordinator that accepted its job, and a number that grows within
the term.  Who has written the list of jobs knows of each name before that of its own next job whether it is
in the list; one that is not comes into no later list.  So a place in the order of names, and the few before
it that are in the list, tell of all others that nobody will use them again.  That stays true.

Pure.  Rule J29: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

import msgpack

from ringmill.cluster.consensus.remains import OWN_PREFIX
from ringmill.cluster.errors import CorruptData, ProtocolMismatch

__all__ = ["FORGOTTEN", "JOURNALS", "NONE_FORGOTTEN", "ForgottenJournals", "JournalPlace", "place_of"]

FORGOTTEN: Final = OWN_PREFIX + b"forgotten"
"""The register that has this value."""
JOURNALS: Final = OWN_PREFIX + b"job/"
"""What the registers of all journals begin with."""

_VERSION: Final = 1
_MOST: Final = (1 << 63) - 1
_NAME: Final = re.compile(rb"[^/]*\.([0-9]{1,18})\.([0-9]{1,18})")


class JournalPlace(NamedTuple):
    """The place of a journal among all: `number` counts the jobs that a coordinator has planned."""

    term: int
    number: int


class ForgottenJournals(NamedTuple):
    """All journals before a place are forgotten, but for those that are `kept`."""

    before: JournalPlace = JournalPlace(0, 0)
    kept: frozenset[JournalPlace] = frozenset()

    @classmethod
    def beside(cls, following: JournalPlace, unlisted: Iterable[str], listed: Iterable[str]) -> Self:
        """What a coordinator knows that has written the list of jobs.

        `following` is the place of its next journal, `unlisted` those of its journals that may still come
        into the list, `listed` those that are there.
        """
        before = min([following, *_places(unlisted)])
        return cls(before, frozenset(place for place in _places(listed) if place < before))

    def covers(self, key: bytes) -> bool:
        """Whether a register of the cluster itself belongs to a journal that is forgotten."""
        if not key.startswith(JOURNALS):
            return False
        place = place_of(key[len(JOURNALS) :].rpartition(b"/")[0])
        return place is not None and place < self.before and place not in self.kept

    def is_more_than(self, other: ForgottenJournals) -> bool:
        """Whether this tells of journals that the other one did not.  What is true later tells of all that
        was true before."""
        return (self.before, -len(self.kept)) > (other.before, -len(other.kept))

    def encode(self) -> bytes:
        return bytes(msgpack.packb([_VERSION, *self.before, [list(each) for each in sorted(self.kept)]]))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises ProtocolMismatch for another version, CorruptData for something else."""
        try:
            version, *fields = msgpack.unpackb(data)
            if version != _VERSION:
                raise ProtocolMismatch(f"forgotten journals of version {version!r:.40}, know {_VERSION}")
            term, number, kept = fields
            return cls(_place(term, number), frozenset(_place(*each) for each in kept))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise CorruptData(
                f"{len(data)} bytes do not tell which journals are forgotten: {error}"
            ) from error


NONE_FORGOTTEN: Final = ForgottenJournals()


def place_of(journal: bytes) -> JournalPlace | None:
    """The place that a journal's name tells; None for one without a place, which is never forgotten."""
    found = _NAME.fullmatch(journal)
    return None if found is None else JournalPlace(int(found[1]), int(found[2]))


def _places(journals: Iterable[str]) -> list[JournalPlace]:
    found = [place_of(each.encode(errors="surrogatepass")) for each in journals]
    return [place for place in found if place is not None]


def _place(term: object, number: object) -> JournalPlace:
    for each in (term, number):
        if type(each) is not int or not 0 <= each <= _MOST:
            raise ValueError(f"{each!r:.40} is not a part of a place")
    return JournalPlace(term, number)  # type: ignore[arg-type]
