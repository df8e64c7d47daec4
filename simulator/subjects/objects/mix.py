"""What sessions ask for, in which shares: the usual mix, and twists of it that a run may have.

Swarm testing again: what every run has a little of hides what only much of it shows.  So half of the runs
have one twist or two: nothing but deletes, a single key, weak levels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["TWISTS", "USUAL", "Mix", "draw_twists", "mix_of"]

_USUAL_CHANCE: Final = 1 / 2


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares are weights.  `levels` and `durabilities` are by name, "" the default."""

    kinds: tuple[int, int, int] = (5, 6, 1)  # put, get, delete
    contexts: tuple[int, int, int] = (6, 3, 1)  # of puts: the session's last one, none, a true sibling's
    levels: Mapping[str, int] = field(default_factory=lambda: {"": 16, "all": 2, "one": 1})
    durabilities: Mapping[str, int] = field(default_factory=lambda: {"": 10, "memory": 1, "buffered": 1})
    hot: float = 0.3  # chance of the one hot key
    most_keys: int = 1_000_000
    pauses_s: tuple[float, ...] = (0.0, 0.0, 0.01, 0.2, 1.0)  # the longest, before an operation


USUAL: Final = Mix()
TWISTS: Final[Mapping[str, Callable[[Mix], Mix]]] = {
    "deletes": lambda mix: replace(mix, kinds=(0, 1, 3)),
    "writes": lambda mix: replace(mix, kinds=(6, 0, 1)),
    "reads": lambda mix: replace(mix, kinds=(1, 9, 0)),
    "one_key": lambda mix: replace(mix, most_keys=1),
    "cold": lambda mix: replace(mix, hot=0.0),
    "conflicts": lambda mix: replace(mix, contexts=(0, 2, 3), pauses_s=(0.0, 0.01)),
    "careful": lambda mix: replace(mix, contexts=(1, 0, 0)),
    "weak": lambda mix: replace(mix, levels={"one": 1}),
    "strict": lambda mix: replace(mix, levels={"": 1, "all": 1}),
    "memory": lambda mix: replace(mix, durabilities={"memory": 1, "buffered": 1}),
    "burst": lambda mix: replace(mix, pauses_s=(0.0,)),
    "slow": lambda mix: replace(mix, pauses_s=(1.0, 2.0)),
}


def draw_twists(draws: Random) -> tuple[str, ...]:
    """None in half of the runs, else one or two."""
    number, drawn = draws.choice((1, 2)), draws.random()
    return () if drawn < _USUAL_CHANCE else tuple(draws.sample(list(TWISTS), number))


def mix_of(twists: Sequence[str]) -> Mix:
    """The usual mix, twisted in this order.  Raises InvalidArgument listing what there is."""
    mix = USUAL
    for name in twists:
        if name not in TWISTS:
            raise InvalidArgument(f"no mix is named {name!r}", hint=f"one or more of {', '.join(TWISTS)}")
        mix = TWISTS[name](mix)
    return mix
