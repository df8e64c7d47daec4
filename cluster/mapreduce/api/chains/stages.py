"""Where a chain of jobs is, and where it goes on.

Pure.  A chain is one job of several stages: each link is a job, which runs once, or in rounds until it counts
nothing under a name.

Rule J24: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Chains".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

__all__ = [
    "FED_FORMAT",
    "FIRST_INPUT",
    "STAGES",
    "START",
    "LinkOf",
    "LinkRounds",
    "StagePlace",
    "may_ask",
    "place_after",
]


class LinkRounds(NamedTuple):
    """How often a link runs: at most `most` times, and until it counts nothing under `until` ("" for all).

    `keeps_states` as in the description of the link.
    """

    most: int
    until: str
    keeps_states: bool = False

    def to_wire(self) -> list[Any]:
        """The msgpack-able form: the fields in their order, the last one only where it is True."""
        return list(self) if self.keeps_states else list(self[:2])


class LinkOf(NamedTuple):
    """A link of a chain: the description of its job, without input and output, and its rounds.

    `asks` says that the job has a function that ends them.
    """

    spec: bytes
    most: int
    until: str
    asks: bool = False

    @property
    def rounds(self) -> LinkRounds:
        return LinkRounds(self.most, self.until)


class StagePlace(NamedTuple):
    """The link that a chain is at, the round of it, and how many stages are over; all from 0."""

    link: int
    round: int
    passed: int


STAGES: Final = ".stages"
FED_FORMAT: Final = "records"
"""Of what stages write for each other."""
FIRST_INPUT: Final = "input"
"""How the input of a chain's first job is named, where that job does not and later jobs read others."""
START: Final = StagePlace(0, 0, 0)


def may_ask(link: LinkOf, place: StagePlace) -> bool:
    """Whether a function is to say if the round at a place was the last of its link."""
    return link.asks and place.round + 1 < link.most


def place_after(
    links: Sequence[LinkRounds], place: StagePlace, counters: Mapping[str, int], *, was_last: bool = False
) -> StagePlace | None:
    """Where a chain goes on when a stage is over that has counted this; None at the end of the last one.

    `was_last` is the word of a function on the round of that stage.
    """
    if not links:
        return None
    most, until, _ = links[place.link]
    if not was_last and place.round + 1 < most and (not until or counters.get(until)):
        return StagePlace(place.link, place.round + 1, place.passed + 1)
    if place.link + 1 < len(links):
        return StagePlace(place.link + 1, 0, place.passed + 1)
    return None
