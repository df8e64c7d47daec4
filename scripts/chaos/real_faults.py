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
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Final

from chaos.network.links import CLIENTS, Bend, Links, both_ways
from chaos.real_nodes import RealNodes
from ringmill.simulator.faults.fault import Fault

__all__ = ["KINDS", "RealInjector", "draw_real_faults"]

NODE_KINDS: Final = ("cut_node", "one_way_node", "stall_node", "delay_node")
SPLIT: Final = "split_halves"
LINK_KINDS: Final = ("cut_link", "one_way_link", "stall_link", "delay_link")
KINDS: Final = ("kill", "kill_all", "pause", SPLIT, *NODE_KINDS, *LINK_KINDS)
PACK: Final = (*KINDS, "kill", "kill", "pause")
APART_S: Final = (0.3, 4.0)  # so that there is mostly a quorum to talk to


def draw_real_faults(
    draws: Random, nodes: Sequence[str], horizon_s: float, apart_s: tuple[float, float] = APART_S
) -> list[Fault]:
    """Faults that begin within [0, horizon_s), in order; they may overlap.

    `apart_s`: the least and the most from one start to the next.
    """
    faults: list[Fault] = []
    pack: list[str] = []
    at_s = draws.random()
    while at_s < horizon_s:
        pack = pack or draws.sample(PACK, len(PACK))
        kind = pack.pop()
        order = draws.sample(list(nodes), len(nodes))
        faults.append(
            Fault(
                at_s=at_s,
                kind=kind,
                nodes=tuple(order[: _how_many(draws, kind, len(nodes))]),
                lasts_s=draws.choice((0.2, 1.0, 3.0)) * (0.5 + draws.random()),
                amount=draws.choice((0.01, 0.1, 0.5)) if kind.startswith("delay") else draws.choice((0, 1)),
            )
        )
        at_s += draws.uniform(*apart_s)
    return faults


class RealInjector:
    """Applies faults; `fired` counts those that did something."""

    def __init__(self, nodes: RealNodes, links: Links) -> None:
        self._nodes = nodes
        self._links = links
        self._busy = {name: asyncio.Lock() for name in nodes.names}
        self.fired: Counter[str] = Counter()

    async def run(
        self, faults: Sequence[Fault], seconds: float, is_over: asyncio.Event | None = None
    ) -> None:
        """All of them, each at its time, for `seconds` or until `is_over`; what still lasts then ends."""
        end, is_over = asyncio.get_running_loop().time() + seconds, is_over or asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._one(fault, end, is_over))
            await _passed(seconds, is_over)

    async def _one(self, fault: Fault, end: float, is_over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        await _passed(fault.at_s, is_over)
        if not is_over.is_set():
            async with self._applied(fault):
                await _passed(min(fault.lasts_s, end - loop.time()), is_over)

    @asynccontextmanager
    async def _applied(self, fault: Fault) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if fault.kind in (SPLIT, *NODE_KINDS, *LINK_KINDS):
                await stack.enter_async_context(self._links.bent(self._bend(fault)))
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

    def _bend(self, fault: Fault) -> Bend:
        if fault.kind == SPLIT:
            rest = [name for name in self._nodes.names if name not in fault.nodes]
            return Bend("cut", both_ways((one, other) for one in fault.nodes for other in rest))
        first = fault.nodes[0]
        others = [*self._nodes.names, CLIENTS] if fault.kind in NODE_KINDS else [fault.nodes[1]]
        pairs = [(first, other) for other in others if other != first]
        match fault.kind.partition("_")[0]:
            case "cut":
                return Bend("cut", both_ways(pairs))
            case "stall":
                return Bend("hold", both_ways(pairs))
            case "delay":
                return Bend("delay", both_ways(pairs), fault.amount)
            case _:
                return Bend("hold", frozenset(pairs if fault.amount else [(b, a) for a, b in pairs]))


async def _passed(seconds: float, is_over: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await is_over.wait()


def _how_many(draws: Random, kind: str, nodes: int) -> int:
    if kind == "kill_all":
        return nodes
    if kind == SPLIT:
        return nodes // 2
    if kind in LINK_KINDS:
        return min(2, nodes)
    return 1 if kind in NODE_KINDS else min(nodes, draws.choice((1, 1, 2)))
