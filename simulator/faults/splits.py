"""Networks that are split: which directed links a split cuts, given the nodes in a drawn order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ringmill.simulator.faults.fault import Fault, FaultKind, at_all, drawn
from ringmill.simulator.world.ground import Ground

__all__ = ["KINDS", "Pairs", "between", "one", "ring"]

Pairs = list[tuple[str, str]]
_FLAPS: Final = 3


def one(order: Sequence[str]) -> Pairs:
    """The first node is alone."""
    return between(order[:1], order[1:])


def halves(order: Sequence[str]) -> Pairs:
    half = len(order) // 2
    return between(order[:half], order[half:])


def bridge(order: Sequence[str]) -> Pairs:
    """One node reaches both sides."""
    half = len(order) // 2
    return between(order[:half], order[half + 1 :])


def ring(order: Sequence[str]) -> Pairs:
    """Each sees a majority, no two the same one."""
    count = len(order)
    reach = (count // 2 + 1) // 2
    return [
        (source, target)
        for at, source in enumerate(order)
        for to, target in enumerate(order)
        if at != to and min((at - to) % count, (to - at) % count) > reach
    ]


def one_way(order: Sequence[str]) -> Pairs:
    """The first node hears and is not heard."""
    return [(order[0], other) for other in order[1:]]


def between(ones: Sequence[str], others: Sequence[str]) -> Pairs:
    """Both directions of each link from the ones to the others."""
    pairs = [(source, target) for source in ones for target in others]
    return pairs + [(target, source) for source, target in pairs]


def _split(name: str, pairs: Callable[[Sequence[str]], Pairs]) -> FaultKind:
    async def apply(fault: Fault, ground: Ground) -> None:
        ground.trace.fault(fault.kind, ",".join(fault.nodes))
        ground.cut(pairs(fault.nodes))

    async def undo(fault: Fault, ground: Ground) -> None:
        ground.join(pairs(fault.nodes))

    return FaultKind(name, apply, undo, drawn(at_all), lasting=True)


async def _flap(fault: Fault, ground: Ground) -> None:
    """One node is cut off again and again."""
    for _ in range(_FLAPS):
        ground.trace.fault(fault.kind, ",".join(fault.nodes))
        ground.cut(one(fault.nodes))
        await asyncio.sleep(fault.lasts_s / _FLAPS / 2)
        ground.join(one(fault.nodes))
        await asyncio.sleep(fault.lasts_s / _FLAPS / 2)


KINDS: Final = (
    _split("split_one", one),
    _split("split_halves", halves),
    _split("split_bridge", bridge),
    _split("split_ring", ring),
    _split("one_way", one_way),
    FaultKind("flapping", _flap, draw=drawn(at_all)),
)
