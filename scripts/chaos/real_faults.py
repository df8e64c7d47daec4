"""Faults for real processes: which, when, where, drawn from a seed; and what each of them does.

Kinds are dealt from a shuffled pack, so that all of them fire in a long run and none is rare.  None destroys
what is on a disk, and a killed process loses only what was in its memory: whatever a synced write loses is a
bug.  Times are real, so a seed fixes the plan and not the outcome.

    kill, kill_all      SIGKILL one or two nodes, or all at once; started again after a while
    pause               SIGSTOP one or two nodes, then SIGCONT
    *_node              all links of one node, those of clients included
    *_link              the link between two nodes
    split_halves        all links between two halves are cut; clients reach both
    cut                 connections reset and refused
    one_way             bytes wait one way and flow the other
    stall               bytes wait both ways, connections stay open
    delay               each chunk of bytes comes late, both ways
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from chaos.network.links import CLIENTS, LinkFault, Links, both_ways
from chaos.real_nodes import RealNodes
from ringmill.simulator.faults.fault import Fault

__all__ = ["KINDS", "RealInjector", "Round", "draw_real_faults", "draw_rounds"]

NODE_KINDS: Final = ("cut_node", "one_way_node", "stall_node", "delay_node")
SPLIT: Final = "split_halves"
LINK_KINDS: Final = ("cut_link", "one_way_link", "stall_link", "delay_link")
KINDS: Final = ("kill", "kill_all", "pause", SPLIT, *NODE_KINDS, *LINK_KINDS)
PACK: Final = (*KINDS, "kill", "kill", "pause")
ROUND_PACK: Final = ("kill", "kill", "kill", "kill_all", "pause", "pause")
BEND_PACK: Final = (SPLIT, SPLIT, *NODE_KINDS, *LINK_KINDS)
BEND_CHANCE: Final = 1 / 3
GAP_S: Final = (1.0, 3.0)
APART_S: Final = (0.3, 4.0)  # so that there is mostly a quorum to talk to


@dataclass(frozen=True, slots=True)
class Round:
    """One kill or pause, perhaps a disturbed link for as long as it lasts, and peace for `gap_s` seconds."""

    fault: Fault
    beside: Fault | None
    gap_s: float


def draw_real_faults(draws: Random, nodes: Sequence[str], horizon_s: float) -> list[Fault]:
    """Faults that begin within [0, horizon_s), in order; they may overlap."""
    faults: list[Fault] = []
    pack: list[str] = []
    at_s = draws.random()
    while at_s < horizon_s:
        pack = pack or draws.sample(PACK, len(PACK))
        kind = pack.pop()
        order = draws.sample(list(nodes), len(nodes))
        faults.append(_drawn(draws, kind, order, at_s))
        at_s += draws.uniform(*APART_S)
    return faults


def draw_rounds(draws: Random, nodes: Sequence[str], rounds: int) -> list[Round]:
    """Kills and pauses one after the other, beside some of them a disturbed link."""
    packs: dict[Sequence[str], list[str]] = {ROUND_PACK: [], BEND_PACK: []}

    def dealt(pack: Sequence[str]) -> Fault:
        packs[pack] = packs[pack] or draws.sample(pack, len(pack))
        return _drawn(draws, packs[pack].pop(), draws.sample(list(nodes), len(nodes)), 0.0)

    return [
        Round(
            dealt(ROUND_PACK),
            dealt(BEND_PACK) if draws.random() < BEND_CHANCE else None,
            draws.uniform(*GAP_S),
        )
        for _ in range(rounds)
    ]


def _drawn(draws: Random, kind: str, order: Sequence[str], at_s: float) -> Fault:
    """A fault of this kind at the first of these nodes."""
    return Fault(
        at_s=at_s,
        kind=kind,
        nodes=tuple(order[: _how_many(draws, kind, len(order))]),
        lasts_s=draws.choice((0.2, 1.0, 3.0)) * (0.5 + draws.random()),
        amount=draws.choice((0.01, 0.1, 0.5)) if kind.startswith("delay") else draws.choice((0, 1)),
    )


class RealInjector:
    """Applies faults; `fired` counts those that did something."""

    def __init__(self, nodes: RealNodes, links: Links) -> None:
        self._nodes = nodes
        self._links = links
        self._busy = {name: asyncio.Lock() for name in nodes.names}
        self.fired: Counter[str] = Counter()

    async def run(self, faults: Sequence[Fault], seconds: float) -> None:
        """All of them, each at its time, for `seconds`; what still lasts then ends."""
        end = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._one(fault, end))

    async def _one(self, fault: Fault, end: float) -> None:
        await asyncio.sleep(fault.at_s)
        async with self.applied(fault):
            await asyncio.sleep(min(fault.lasts_s, end - asyncio.get_running_loop().time()))

    @asynccontextmanager
    async def applied(self, fault: Fault) -> AsyncIterator[None]:
        """Have it for the time of the block."""
        async with AsyncExitStack() as stack:
            if fault.kind in (SPLIT, *NODE_KINDS, *LINK_KINDS):
                await stack.enter_async_context(self._links.disturbed(self._link_fault(fault)))
            else:
                for name in sorted(fault.nodes):  # one order, so that no two wait for each other
                    await stack.enter_async_context(self._busy[name])
                await stack.enter_async_context(self._down(fault))
            self.fired[fault.kind] += 1
            yield

    @asynccontextmanager
    async def _down(self, fault: Fault) -> AsyncIterator[None]:
        """Killed or paused, and back at the end of the block.  On an error they are left for `stop`."""
        if fault.kind == "pause":
            for name in fault.nodes:
                self._nodes.pause(name)
            yield
            for name in fault.nodes:
                self._nodes.resume(name)
        else:
            await self._nodes.kill(fault.nodes)
            yield
            self._nodes.start(fault.nodes)

    def _link_fault(self, fault: Fault) -> LinkFault:
        if fault.kind == SPLIT:
            rest = [name for name in self._nodes.names if name not in fault.nodes]
            return LinkFault("cut", both_ways((one, other) for one in fault.nodes for other in rest))
        first = fault.nodes[0]
        others = [*self._nodes.names, CLIENTS] if fault.kind in NODE_KINDS else [fault.nodes[1]]
        pairs = [(first, other) for other in others if other != first]
        match fault.kind.partition("_")[0]:
            case "cut":
                return LinkFault("cut", both_ways(pairs))
            case "stall":
                return LinkFault("hold", both_ways(pairs))
            case "delay":
                return LinkFault("delay", both_ways(pairs), fault.amount)
            case _:
                return LinkFault("hold", frozenset(pairs if fault.amount else [(b, a) for a, b in pairs]))


def _how_many(draws: Random, kind: str, nodes: int) -> int:
    if kind == "kill_all":
        return nodes
    if kind == SPLIT:
        return nodes // 2
    if kind in LINK_KINDS:
        return min(2, nodes)
    return 1 if kind in NODE_KINDS else min(nodes, draws.choice((1, 1, 2)))
