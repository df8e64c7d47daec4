"""Faults and kinds of fault.

A kind is one value: how it is drawn, what it does and how it is undone.  Similar kinds share a file in this
folder; kinds that affect only one subject are in its package.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar

from ringmill.simulator.world.ground import Ground

__all__ = [
    "LONGEST_S",
    "LOOK_EVERY_S",
    "Draw",
    "Fault",
    "FaultKind",
    "as_soon_as",
    "at_all",
    "at_one",
    "at_pair_or_all",
    "at_some",
    "drawn",
    "early",
    "first_found",
    "sudden",
    "waiting",
]

LONGEST_S: Final = 8.0
LOOK_EVERY_S: Final = 0.02
_DURATIONS_S: Final = (0.05, 0.5, 2.0, LONGEST_S)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: from `at_s` for `lasts_s` seconds of virtual time, at `nodes`."""

    at_s: float
    kind: str
    nodes: tuple[str, ...]
    lasts_s: float
    amount: float = 0.0


_Name = TypeVar("_Name", bound=str)

Draw = Callable[[Random, str, Sequence[str], float], Fault]
"""Draws, a kind's name, the nodes and a horizon in seconds: a fault that begins before it."""
Act = Callable[[Fault, Ground], Awaitable[None]]
Who = Callable[[Random, Sequence[str]], Sequence[str]]


async def _nothing(fault: Fault, ground: Ground) -> None:
    """Nothing is left to undo."""


def drawn(who: Who, amounts: Sequence[float] = ()) -> Draw:
    """A fault of some seconds at the nodes that `who` chooses from a drawn order."""

    def draw(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
        order = draws.sample(nodes, len(nodes))
        return Fault(
            at_s=draws.random() * horizon_s,
            kind=name,
            nodes=tuple(who(draws, order)),
            lasts_s=draws.choice(_DURATIONS_S) * (0.5 + draws.random()),
            amount=draws.choice(amounts) if amounts else 0.0,
        )

    return draw


def sudden(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    """A fault at one node that strikes within its time, as soon as it can."""
    at_s, node = draws.random() * horizon_s, draws.choice(nodes)
    return Fault(at_s, name, (node,), draws.choice(_DURATIONS_S[1:]))


def early(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
    """Draw a fault as `sudden` does, but in the first quarter of the load: it shows only in later writes."""
    return sudden(draws, name, nodes, horizon_s / 4)


def waiting(*effects_s: float) -> Draw:
    """From the start of the run on the fault waits for its moment, and then lasts one of these times."""

    def draw(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
        return Fault(0.0, name, tuple(nodes), horizon_s + LONGEST_S, draws.choice(effects_s))

    return draw


async def as_soon_as(strikes: Callable[[], bool], fault: Fault) -> bool:
    """Try again and again within the fault's time; whether it struck."""
    for _ in range(1 + int(fault.lasts_s / LOOK_EVERY_S)):
        if strikes():
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return False


async def first_found(find: Callable[[], Sequence[_Name]], fault: Fault) -> list[_Name]:
    """What is found first within the fault's time; nothing when there is none."""
    found: list[_Name] = []

    def strikes() -> bool:
        found.extend(find())
        return bool(found)

    await as_soon_as(strikes, fault)
    return found


def at_some(draws: Random, order: Sequence[str]) -> Sequence[str]:
    """Mostly one node, now and then two."""
    return order[: draws.choice((1, 1, 1, 2))]


def at_one(draws: Random, order: Sequence[str]) -> Sequence[str]:
    return order[:1]


def at_all(draws: Random, order: Sequence[str]) -> Sequence[str]:
    """The order is drawn all the same."""
    return order


def at_pair_or_all(draws: Random, order: Sequence[str]) -> Sequence[str]:
    return order[: draws.choice((2, len(order)))]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """`apply` strikes; `undo` follows `lasts_s` later when the kind is `lasting`, else at once.

    `chance` is None for the usual kinds, of which a run draws up to eight faults, and else how often one
    fault of this kind stands beside them.  A kind that `spoils` destroys synced bytes of a node, and one that
    `loses` removes the node permanently: a run does either to at most one node.
    """

    name: str
    apply: Act
    undo: Act = _nothing
    draw: Draw = sudden
    lasting: bool = False
    chance: float | None = None
    spoils: bool = False
    loses: bool = False
