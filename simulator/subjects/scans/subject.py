"""Scans: clients that scan while others write, under faults, and a last scan once all is healed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ringmill.client.routing.directory import Directory
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.checkers.durability import check_receipts
from ringmill.simulator.subjects.objects.sessions import Session, SimulatedLink, Within
from ringmill.simulator.subjects.scans.ablations import SCAN_ABLATIONS
from ringmill.simulator.subjects.scans.checkers import check_scans
from ringmill.simulator.subjects.scans.marks import SCAN_MARKS
from ringmill.simulator.subjects.scans.sessions import ScanSession
from ringmill.simulator.subjects.scans.workload import (
    WRITERS,
    PlannedScan,
    draw_scans,
    draw_writes,
)
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.world import World

__all__ = ["SCANS", "ScanWorkload"]

_SCANNERS: Final = ("c0", "c1", "c2")
_SCANS: Final = 5
_PATIENCE_S: Final = 20.0
_LAST_PATIENCE_S: Final = 100.0
_CORE, _LAST = "c-core", "c-last"


class ScanWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        self._writes = {name: draw_writes(stream(seed, f"scans/{name}"), name) for name in WRITERS}
        self._scans = {name: draw_scans(stream(seed, f"scans/{name}"), name, _SCANS) for name in _SCANNERS}

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        writes = [f"{each.session} {each.kind} {each.key!r}" for all in self._writes.values() for each in all]
        scans = [
            f"{each.session} scan {each.prefix!r}, {each.limit or 'any number'} a page"
            for all in self._scans.values()
            for each in all
        ]
        return [*writes, *scans]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [*WRITERS, *_SCANNERS, _CORE, _LAST]

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*map(self._write, WRITERS), *map(self._scan_meanwhile, _SCANNERS)]

    def rests_on(self) -> Sequence[Collection[str]]:
        """A scan needs owners enough of every partition."""
        topology = self._world.topology
        return [row.nodes for row in topology.rows]

    async def progress(self) -> None:
        rest = self._world.history.core.rest
        core = [node.address for name, node in self._world.nodes.items() if name not in rest]
        await self._scan(_CORE, [PlannedScan(_CORE, b"", None, 0.0)], core, directory=Within, is_of_core=True)

    async def wait_idle(self) -> None:
        for process in [node for node in self._world.living() if node.disk.is_rotten]:
            await self._world.heal_damage(process)

    async def read_final_state(self) -> None:
        await self._scan(_LAST, [PlannedScan(_LAST, b"", 10, 0.0)], list(self._world.addresses))

    def unrest(self) -> list[Violation]:
        return [Violation("C2", b"", "scans are not at rest long after healing")]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        topology, keyspace = self._world.topology, self._world.topology.keyspaces[0].id
        found = check_scans(history, lambda key: (topology.partition_of(keyspace, key), key))
        return [*found, *check_receipts(history)]

    def figures(self, history: History) -> Figures:
        return {
            "scans": len(history.scans),
            "complete": sum(scan.is_complete for scan in history.scans),
            "keys": sum(len(scan.items) for scan in history.scans),
            "pages again": sum(len(scan.errors) for scan in history.scans),
            "writes": len(history.scan_writes),
            "acknowledged": sum(write.is_ok for write in history.scan_writes),
        }

    async def _write(self, name: str) -> None:
        process, transport = self._world.client(name)
        nodes = self._world.addresses
        session = Session(
            name,
            addresses=list(nodes),
            dial=lambda address: SimulatedLink(transport, nodes[address]),
            entropy=SeededEntropy(self._seed, f"client/{name}"),
            timeout_s=stream(self._seed, f"client/{name}").choice((0.3, 1.0, 5.0)),
        )

        async def work() -> None:
            async with session:
                await session.work_off(self._writes[name], self._world.history.scan_writes)

        await self._world.loop.spawn(process, work())

    async def _scan_meanwhile(self, name: str) -> None:
        await self._scan(name, self._scans[name], list(self._world.addresses))

    async def _scan(
        self,
        name: str,
        plans: Sequence[PlannedScan],
        addresses: Sequence[str],
        *,
        directory: type[Directory] = Directory,
        is_of_core: bool = False,
    ) -> None:
        process, transport = self._world.client(name)
        nodes, is_last = self._world.addresses, name in (_CORE, _LAST)
        session = ScanSession(
            name,
            addresses=addresses,
            dial=lambda address: SimulatedLink(transport, nodes[address]),
            entropy=SeededEntropy(self._seed, f"client/{name}"),
            timeout_s=5.0 if is_last else stream(self._seed, f"client/{name}").choice((0.3, 1.0, 5.0)),
            patience_s=_LAST_PATIENCE_S if is_last else _PATIENCE_S,
            directory=directory,
        )

        async def work() -> None:
            async with session:
                for plan in plans:
                    await asyncio.sleep(plan.pause_s)
                    record = await session.scan(plan, self._world.history.scans, is_of_core=is_of_core)
                    record.is_last = name == _LAST

        await self._world.loop.spawn(process, work())


def _tuned(seed: int, tunables: Tunables) -> Tunables:
    """Owners whose pages are short, in most of the runs."""
    items = stream(seed, "scans/tunables").choice((1000, 7, 3, 2))
    node = tunables.node
    return replace(tunables, node=replace(node, replica=replace(node.replica, page_items=items)))


def _describe(figures: Figures) -> str:
    return (
        f"{figures['scans']:,} scans ({figures['complete']:,} complete) with {figures['keys']:,} keys, "
        f"beside {figures['writes']:,} writes ({figures['acknowledged']:,} acknowledged)"
    )


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"scans": dict(figures)}


SCANS: Final = Subject(
    name="scans",
    title="Scans",
    draw=ScanWorkload,
    describe=_describe,
    fields=_fields,
    ablations=SCAN_ABLATIONS,
    marks=SCAN_MARKS,
    tuned=_tuned,
)
